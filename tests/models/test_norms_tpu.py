"""Norms as a TPU has them: in bfloat16 the sums of values and of squares are taken in one pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.on_a_tpu import on_a_tpu
from vqdiffusion_jax.config import ComputeConfig
from vqdiffusion_jax.models import layers
from vqdiffusion_jax.models.denoiser import AdaLayerNorm
from vqdiffusion_jax.models.layers import GroupNorm, LayerNorm
from vqdiffusion_jax.models.shapes import make_rngs

BFLOAT16 = ComputeConfig(dtype="bfloat16")
NORMS = {
    "group": lambda compute: GroupNorm(8, 4, compute, rngs=make_rngs(0)),
    "layer": lambda compute: LayerNorm(8, compute, rngs=make_rngs(0)),
    "timestep": lambda compute: _modulated(AdaLayerNorm(3, 8, compute, rngs=make_rngs(0))),
    "class, over tokens": lambda compute: _modulated(AdaLayerNorm(3, 8, compute, over_tokens=True, rngs=make_rngs(0))),
}


def _modulated(norm):
    modulation = norm.modulation(jnp.asarray([1]))
    return lambda x: norm(x.reshape(len(x), -1, x.shape[-1]), modulation).reshape(x.shape)


@pytest.mark.parametrize("middle", [0.0, 3.0, 100.0])
@pytest.mark.parametrize("name", NORMS)
def test_one_pass_is_the_same(monkeypatch, name, middle):
    """A mean far from 0 costs no more than the inputs' own rounding."""
    x = (middle + jax.random.normal(jax.random.key(1), (2, 16, 16, 8))).astype(jnp.bfloat16)
    elsewhere = NORMS[name](BFLOAT16)(x)
    monkeypatch.setattr(jax.lax, "platform_dependent", on_a_tpu)
    here = NORMS[name](BFLOAT16)(x)
    assert here.dtype == elsewhere.dtype == jnp.bfloat16
    difference = np.abs(np.asarray(here, np.float32) - np.asarray(elsewhere, np.float32))
    assert difference.max() <= 0.04  # two roundings of bfloat16 at the largest values


@pytest.mark.parametrize(
    "form",
    [
        lambda x: GroupNorm(12, 4, BFLOAT16, rngs=make_rngs(0))._in_one_pass(x),
        lambda x: layers._standardize_in_one_pass(x.reshape(1, -1), -1),
    ],
)
def test_a_constant_stays_finite(form):
    """Rounding takes the mean square below the square of the mean here, by more than epsilon."""
    x = jnp.full((1, 15, 15, 12), 100.3)
    mean, square = x.mean((1, 2)), jnp.square(x).mean((1, 2))
    assert float((square - jnp.square(mean)).min()) < -layers.LAYER_NORM_EPSILON
    made = np.asarray(form(x), np.float32)
    # Epsilon is all that is divided by: a rounding of 1e-5 in the mean of 100 is a hundredth here.
    assert np.isfinite(made).all() and np.abs(made).max() < 1.0


@pytest.mark.parametrize("name", NORMS)
def test_one_pass_is_for_bfloat16_alone(monkeypatch, name):
    taken = []
    monkeypatch.setattr(jax.lax, "platform_dependent", on_a_tpu)
    for owner, form in ((GroupNorm, "_in_one_pass"), (layers, "_standardize_in_one_pass")):
        whole = getattr(owner, form)
        monkeypatch.setattr(
            owner, form, lambda *args, _whole=whole, **kwargs: taken.append(1) or _whole(*args, **kwargs)
        )
    NORMS[name](ComputeConfig())(jnp.ones((1, 2, 2, 8)))
    assert not taken
    NORMS[name](BFLOAT16)(jnp.ones((1, 2, 2, 8), jnp.bfloat16))
    assert taken
