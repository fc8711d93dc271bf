"""Products in float8 are those of the rounded factors, and only the denoiser's blocks use them."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from benchmarks._step import request_of
from tests.networks import random_network
from vqdiffusion_jax.config import ComputeConfig
from vqdiffusion_jax.errors import ConfigError
from vqdiffusion_jax.generation import advance, prepare
from vqdiffusion_jax.models.fp8 import FLOAT8, LARGEST, Fp8Linear, rounded_kernels, with_kernels
from vqdiffusion_jax.models.layers import linear
from vqdiffusion_jax.models.shapes import Keys
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.presets import preset
from vqdiffusion_jax.training.denoiser.config import TrainConfig


def layer_of(kernel, bias=None, dtype="float32"):
    layer = Fp8Linear(*kernel.shape, use_bias=bias is not None, dtype=dtype, param_dtype=dtype, rngs=nnx.Rngs(0))
    layer.kernel = nnx.Param(jnp.asarray(kernel, dtype))
    if bias is not None:
        layer.bias = nnx.Param(jnp.asarray(bias, dtype))
    return layer


def test_exact_where_the_factors_have_few_digits():
    """With float8's largest number in every row and column, scales are powers of two and small integers stay exact."""
    draw = np.random.default_rng(0)
    x, kernel = (draw.integers(-8, 9, shape).astype(np.float32) for shape in ((5, 12), (12, 7)))
    x[:, 3], kernel[3] = LARGEST, -LARGEST
    x *= 2.0 ** draw.integers(-9, 9, (5, 1))
    kernel *= 2.0 ** draw.integers(-9, 9, (1, 7))
    x[2] = 0
    bias = draw.integers(-8, 9, 7)
    np.testing.assert_array_equal(layer_of(kernel)(jnp.asarray(x)), x @ kernel)
    np.testing.assert_array_equal(layer_of(kernel, bias)(jnp.asarray(x[2:3])), bias[None])


def test_each_factor_keeps_three_digits_whatever_its_neighbours_are():
    draw = np.random.default_rng(0)
    x, kernel = (draw.standard_normal(shape).astype(np.float32) for shape in ((64, 256), (256, 64)))
    x *= np.float32(10.0) ** draw.integers(-6, 7, (64, 1))
    exact = np.float64(x) @ kernel
    error = np.abs(layer_of(kernel)(jnp.asarray(x)) - exact).mean(1) / np.abs(exact).mean(1)
    assert (0.01 < error).all() and (error < 0.06).all()


def test_rows_too_small_to_scale_are_zero():
    x = jnp.array([[1e-36, -1e-36], [1e-30, 1e-30]], jnp.float32)
    np.testing.assert_allclose(layer_of(np.ones((2, 2)))(x), [[0, 0], [2e-30, 2e-30]], rtol=1e-2, atol=3e-36)


def test_bfloat16_goes_in_and_out():
    found = layer_of(np.ones((4, 5)), dtype="bfloat16")(jnp.ones((2, 3, 4), "bfloat16"))
    assert found.dtype == "bfloat16" and (found == 4).all() and found.shape == (2, 3, 5)


def test_rounded_ahead_is_rounded_in_place():
    draw = np.random.default_rng(0)
    layer, x = (
        layer_of(draw.standard_normal((32, 16)), draw.standard_normal(16)),
        jnp.asarray(draw.standard_normal((8, 32)), "float32"),
    )
    ((kernel, _),) = kernels = rounded_kernels(layer)
    ahead = with_kernels(layer, kernels)
    assert kernel.dtype == FLOAT8 and layer.rounded is None, "the layer given stays as it is"
    np.testing.assert_array_equal(ahead(x), layer(x))
    other = with_kernels(layer, rounded_kernels(layer_of(np.eye(32, 16))))
    assert not np.allclose(other(x), layer(x)), "what was put there is what is multiplied"


@pytest.fixture(scope="module")
def models():
    """Return a model with exact products, one with the same weights in float8, and one with those rounded before."""
    config = preset("tiny_text")
    exact, inexact = (random_network(VQDiffusionModel, config, ComputeConfig(fp8=fp8)) for fp8 in (False, True))
    ahead = jax.tree.map(lambda leaf: leaf, inexact)
    ahead.denoiser = with_kernels(inexact.denoiser, jax.jit(rounded_kernels)(inexact.denoiser))
    return exact, inexact, ahead


def test_a_denoiser_stays_near_its_own_float32(models):
    config = models[0].config.denoiser
    tokens = jnp.zeros((1, config.num_tokens), jnp.int32)
    condition = np.random.default_rng(0).standard_normal((1, config.condition_length, config.condition_width))
    exact, ours, ahead = (model.denoiser(tokens, jnp.int32(3), jnp.asarray(condition, "float32")) for model in models)
    drift = np.sqrt(jnp.square(ours - exact).mean() / jnp.square(exact - exact.mean()).mean())
    assert 1e-4 < drift < 0.05
    np.testing.assert_allclose(ahead, ours, atol=1e-5)


def test_the_blocks_of_the_denoiser_alone_are_rounded(models):
    leaves = jax.tree_util.tree_flatten_with_path(models[2])[0]
    found = {jax.tree_util.keystr(path, simple=True, separator=".") for path, leaf in leaves if leaf.dtype == FLOAT8}
    attentions = [f"{kind}_attention.{name}" for kind in ("self", "cross") for name in ("query", "key", "value", "out")]
    assert found == {f"denoiser.blocks.{name}.rounded.0" for name in (*attentions, "mlp.up", "mlp.down")}


def test_other_layers_are_exact():
    layer, x = linear(256, 8, rngs=Keys(0)), np.random.default_rng(0).standard_normal((4, 256)).astype(np.float32)
    np.testing.assert_allclose(layer(jnp.asarray(x)), np.float64(x) @ np.asarray(layer.kernel[...]), atol=1e-5)


def test_accelerators_get_float8_products():
    layer = layer_of(np.ones((32, 16)), dtype="bfloat16")
    lowered = (
        jax.jit(lambda layer, x: layer(x))
        .trace(layer, jnp.ones((16, 32), "bfloat16"))
        .lower(lowering_platforms=("cuda",))
    )
    products = [line for line in lowered.as_text().splitlines() if "dot_general" in line]
    assert len(products) == 1 and products[0].count("f8E4M3FN") == 2


def test_a_run_rounds_the_kernels_once(models):
    _, model, _ = models
    request = request_of(model, batch=3, steps=2)
    prepared = jax.eval_shape(prepare, model, request)
    text = jax.jit(advance).trace(model, prepared, request).lower(lowering_platforms=("cuda",)).as_text()
    made = set(re.findall(r"stablehlo.convert .* -> tensor<(\d+)x[x\d]*xf8E4M3FN>", text))
    assert made == {str(2 * len(request.start))}, "activations of the doubled batch and nothing else"


def test_training_refuses_it():
    with pytest.raises(ConfigError, match="float8 is for sampling"):
        TrainConfig(model=preset("tiny_text"), batch_size=2, steps=1, compute=ComputeConfig(fp8=True))
