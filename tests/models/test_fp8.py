"""Products in float8 are those of the rounded factors, and only the denoiser's blocks take them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.networks import random_network
from vqdiffusion_jax.config import ComputeConfig, ConfigError
from vqdiffusion_jax.models.fp8 import LARGEST, fp8_dot_general
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.presets import preset
from vqdiffusion_jax.training.denoiser.config import TrainConfig

LINEAR = (((1,), (0,)), ((), ()))


def test_exact_where_the_factors_have_few_digits():
    """With float8's largest number in every row and column the scales are powers of two, and small integers stay as they are."""
    draw = np.random.default_rng(0)
    x, kernel = (draw.integers(-8, 9, shape).astype(np.float32) for shape in ((5, 12), (12, 7)))
    x[:, 3], kernel[3] = LARGEST, -LARGEST
    x *= 2.0 ** draw.integers(-9, 9, (5, 1))
    kernel *= 2.0 ** draw.integers(-9, 9, (1, 7))
    x[2] = 0
    np.testing.assert_array_equal(fp8_dot_general(jnp.asarray(x), jnp.asarray(kernel), LINEAR), x @ kernel)


def test_each_factor_keeps_three_digits_whatever_its_neighbours_are():
    draw = np.random.default_rng(0)
    x, kernel = (draw.standard_normal(shape).astype(np.float32) for shape in ((64, 256), (256, 64)))
    x *= np.float32(10.0) ** draw.integers(-6, 7, (64, 1))
    exact = np.float64(x) @ kernel
    error = np.abs(fp8_dot_general(jnp.asarray(x), jnp.asarray(kernel), LINEAR) - exact).mean(1) / np.abs(exact).mean(1)
    assert (0.01 < error).all() and (error < 0.06).all()


def test_rows_too_small_to_scale_are_zero():
    x = jnp.array([[1e-36, -1e-36], [1e-30, 1e-30]], jnp.float32)
    found = fp8_dot_general(x, jnp.ones((2, 2)), LINEAR)
    np.testing.assert_allclose(found, [[0, 0], [2e-30, 2e-30]], rtol=1e-2, atol=3e-36)


def test_other_contractions_are_refused():
    with pytest.raises(ValueError, match="linear layers"):
        fp8_dot_general(jnp.ones((3, 3)), jnp.ones((3, 3)), (((0,), (0,)), ((), ())))
    with pytest.raises(ValueError, match="linear layers"):
        fp8_dot_general(jnp.ones(3), jnp.ones((3, 3)), (((0,), (0,)), ((), ())))


def test_bfloat16_goes_in_and_out():
    x, kernel = jnp.ones((2, 3, 4), "bfloat16"), jnp.ones((4, 5), "bfloat16")
    found = fp8_dot_general(x, kernel, (((2,), (0,)), ((), ())))
    assert found.dtype == "bfloat16" and (found == 4).all() and found.shape == (2, 3, 5)


def test_a_denoiser_stays_near_its_own_float32():
    config = preset("tiny_text")
    exact, rounded = (random_network(VQDiffusionModel, config, ComputeConfig(fp8=fp8)) for fp8 in (False, True))
    tokens = jnp.zeros((1, config.denoiser.num_tokens), jnp.int32)
    draw = np.random.default_rng(0)
    condition = jnp.asarray(draw.standard_normal((1, config.denoiser.condition_length, config.denoiser.condition_width)), "float32")
    ours, theirs = (model.denoiser(tokens, jnp.int32(3), condition) for model in (rounded, exact))
    drift = np.sqrt(jnp.square(ours - theirs).mean() / jnp.square(theirs - theirs.mean()).mean())
    assert 1e-4 < drift < 0.05

    assert rounded.denoiser.blocks.mlp.up.dot_general is fp8_dot_general
    denoiser, text = rounded.denoiser, rounded.text_encoder
    others = (denoiser.logits, denoiser.blocks.self_norm.linear, rounded.codec.quant_conv, text.blocks.mlp.up)
    assert all(layer.dot_general is jax.lax.dot_general for layer in others)


def test_accelerators_get_float8_products():
    x, kernel = jnp.ones((16, 32), "bfloat16"), jnp.ones((32, 16), "bfloat16")
    lowered = jax.jit(lambda x, kernel: fp8_dot_general(x, kernel, LINEAR)).trace(x, kernel).lower(lowering_platforms=("cuda",))
    products = [line for line in lowered.as_text().splitlines() if "dot_general" in line]
    assert len(products) == 1 and products[0].count("f8E4M3FN") == 2


def test_training_refuses_it():
    with pytest.raises(ConfigError, match="float8 is for sampling"):
        TrainConfig(model=preset("tiny_text"), batch_size=2, steps=1, compute=ComputeConfig(fp8=True))
