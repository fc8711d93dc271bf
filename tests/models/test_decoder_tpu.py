"""Encoder and decoder as a TPU has them: sums of norms beside the values, and the deep blocks as a loop."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqdiffusion_jax.config import ComputeConfig, VQGANConfig
from vqdiffusion_jax.models.layers import GroupNorm
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


def on_a_tpu(*operands, default=None, **forms):
    return forms.get("tpu", default)(*operands)


@pytest.mark.parametrize("middle", [0.0, 3.0, 100.0])
def test_group_norm_in_one_pass_is_the_same(middle):
    """In bfloat16 a TPU sums squares beside values; a mean far from 0 costs no more than the inputs' own rounding."""
    norm = GroupNorm(8, 4, ComputeConfig(dtype="bfloat16"), rngs=make_rngs(0))
    x = (middle + jax.random.normal(jax.random.key(1), (2, 16, 16, 8))).astype(jnp.bfloat16).astype(jnp.float32)
    one, two = (np.asarray(jax.jit(form)(x), np.float32) for form in (norm._in_one_pass, norm._in_two_passes))
    np.testing.assert_allclose(one, two, atol=0.04)  # two roundings of bfloat16 at the largest values
    flat = norm._in_one_pass(jnp.full((1, 16, 16, 8), 100.3))
    assert np.isfinite(np.asarray(flat, np.float32)).all()


def test_group_norm_takes_one_pass_in_bfloat16_alone(monkeypatch):
    monkeypatch.setattr(jax.lax, "platform_dependent", on_a_tpu)
    monkeypatch.setattr(GroupNorm, "_in_one_pass", lambda self, x: "one")
    monkeypatch.setattr(GroupNorm, "_in_two_passes", lambda self, x: "two")
    forms = {
        dtype: GroupNorm(8, 4, ComputeConfig(dtype=dtype), rngs=make_rngs(0))(jnp.zeros((1, 2, 2, 8)))
        for dtype in ("bfloat16", "float32")
    }
    assert forms == {"bfloat16": "one", "float32": "two"}


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
    for got, wanted in zip(jax.tree.leaves(found), jax.tree.leaves(gradients), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-4 * max(1.0, float(jnp.abs(wanted).max())))
