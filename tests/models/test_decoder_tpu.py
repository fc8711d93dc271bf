"""Encoder and decoder as a TPU has them.

The deep blocks are a loop, and the largest level has squares of places side by side in its channels.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.on_a_tpu import on_a_tpu
from vqdiffusion_jax.config import ComputeConfig, VQGANConfig
from vqdiffusion_jax.models.shapes import make_rngs
from vqdiffusion_jax.models.vqgan_blocks import Decoder, Encoder

SMALL = VQGANConfig(
    quantizer="ema",
    codebook_size=8,
    embed_dim=4,
    image_size=4,
    channels=8,
    channel_multipliers=(1,),
    num_res_blocks=1,
    attention_levels=(0,),
    z_channels=4,
    norm_groups=4,
)


def assert_same_gradients(found, expected):
    for got, wanted in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-4 * max(1.0, float(jnp.abs(wanted).max())))


@pytest.mark.parametrize(
    ("network", "multipliers", "turns"), [(Decoder, (1,), 4), (Encoder, (1,), 3), (Encoder, (2,), 2)]
)
def test_the_deep_blocks_as_a_loop_give_the_same(monkeypatch, network, multipliers, turns):
    """Results and gradients of a codec's half as a TPU has it: the blocks of the lowest resolution are a loop.

    A first block that widens its input, as that of the second encoder's level, stays outside.
    """
    half = network(replace(SMALL, channel_multipliers=multipliers), ComputeConfig(remat=True), rngs=make_rngs(0))
    given = jax.random.normal(jax.random.key(1), (1, 4, 4, SMALL.z_channels if network is Decoder else 3))

    def results():
        return jax.jit(lambda half: jax.value_and_grad(loss, has_aux=True)(half))(half)

    def loss(half):
        made = half(given)
        return jnp.square(made).sum(), made

    (_, expected), gradients = results()
    monkeypatch.setattr(jax.lax, "platform_dependent", on_a_tpu)
    assert f"length={turns}\n" in str(jax.make_jaxpr(half)(given))
    (_, made), found = results()
    np.testing.assert_allclose(made, expected, atol=1e-5)
    assert_same_gradients(found, gradients)


@pytest.mark.parametrize("multipliers", [(1, 2), (2, 1), (1, 1, 2)])
def test_the_largest_level_in_squares_gives_the_same(multipliers):
    """Images and gradients, with a first block that changes the number of channels and with one that does not."""
    config = replace(SMALL, channel_multipliers=multipliers, attention_levels=(len(multipliers) - 1,))
    decoder = Decoder(config, ComputeConfig(), rngs=make_rngs(0))
    # A norm's scale and bias start equal for all channels, and would be right in any order.
    decoder = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(3), leaf.shape), decoder)
    given = jax.random.normal(jax.random.key(1), (2, 6, 5, SMALL.channels * multipliers[1]))
    key = jax.random.key(2)

    def results(form):
        def loss(decoder):
            made = getattr(decoder, form)(given, key)
            return jnp.square(made).sum(), made

        return jax.value_and_grad(loss, has_aux=True)(decoder)

    (_, expected), gradients = results("_largest_level")
    (_, made), found = results("_largest_level_in_squares")
    assert expected.shape == (2, 12, 10, 3)
    np.testing.assert_allclose(made, expected, atol=1e-5)
    assert_same_gradients(found, gradients)


@pytest.mark.parametrize("param_dtype", ["float32", "bfloat16"])
def test_squares_in_bfloat16_are_as_near_to_float32(param_dtype):
    config = replace(SMALL, channel_multipliers=(1, 2), attention_levels=(1,))
    exact = Decoder(config, ComputeConfig(param_dtype=param_dtype), rngs=make_rngs(0))
    rounded = Decoder(config, ComputeConfig(dtype="bfloat16", param_dtype=param_dtype), rngs=make_rngs(0))
    given = jax.random.normal(jax.random.key(1), (2, 6, 5, 2 * SMALL.channels))
    expected = exact._largest_level(given, None)
    plain, squares = (
        float(jnp.abs(form(given.astype(jnp.bfloat16), None) - expected).max())
        for form in (rounded._largest_level, rounded._largest_level_in_squares)
    )
    assert 0 < squares < 1.5 * plain < 0.1


@pytest.mark.parametrize(
    ("change", "dtype", "form"),
    [
        ({}, "bfloat16", "_largest_level_in_squares"),
        ({}, "float32", "_largest_level"),  # as the reference computes
        ({"channels": 96}, "bfloat16", "_largest_level"),  # wide enough as it is
        ({"attention_levels": (0, 1)}, "bfloat16", "_largest_level"),  # whose places would mix
    ],
)
def test_squares_are_taken_where_they_help(monkeypatch, change, dtype, form):
    config = replace(SMALL, **{"channel_multipliers": (1, 2), "attention_levels": (1,)} | change)
    decoder = Decoder(config, ComputeConfig(dtype=dtype), rngs=make_rngs(0))
    taken = []
    for name in ("_largest_level", "_largest_level_in_squares"):
        monkeypatch.setattr(Decoder, name, lambda self, x, key, name=name: taken.append(name))
    monkeypatch.setattr(jax.lax, "platform_dependent", on_a_tpu)
    decoder(jnp.zeros((1, 2, 2, SMALL.z_channels)))
    assert taken == [form]
