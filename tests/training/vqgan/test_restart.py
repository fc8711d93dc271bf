"""Dead codes of a codebook that follows its latents."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vqdiffusion_jax.models.quantizers import EMAQuantizer
from vqdiffusion_jax.training.vqgan.restart import restart_dead_codes

from .toy import CODEC

LATENTS = jnp.asarray(np.random.default_rng(0).standard_normal((60, 4)), jnp.float32)


def quantizer_used(*used: int) -> EMAQuantizer:
    quantizer = EMAQuantizer(CODEC, rngs=nnx.Rngs(0))
    quantizer.cluster_size[...] = jnp.zeros(24).at[jnp.asarray(used)].set(5.0)
    return quantizer


def restart(quantizer, distances, latents=LATENTS, seed=0, step=7):
    return restart_dead_codes(quantizer, latents, distances, jax.random.key(seed), share=0.1, everything=step == 0)


def test_dead_codes_take_latents_and_the_others_stay():
    quantizer = quantizer_used(2, 3, 11)
    after, restarted = restart(quantizer, jnp.ones(60))
    assert int(restarted) == 21
    rows, before = np.asarray(after.codebook[...]), np.asarray(quantizer.codebook[...])
    np.testing.assert_array_equal(rows[[2, 3, 11]], before[[2, 3, 11]])
    new = np.delete(rows, [2, 3, 11], axis=0)
    places = [np.flatnonzero((np.asarray(LATENTS) == row).all(-1)) for row in new]
    assert (
        all(len(place) == 1 for place in places) and len({int(place[0]) for place in places}) == 21
    )  # without replacement
    np.testing.assert_allclose(after.cluster_size[...][0], 3 * 0.1 * 60 / 24, rtol=1e-6)
    np.testing.assert_allclose(after.codebook_sum[...] / after.cluster_size[...][:, None], rows, atol=0.1)
    assert not np.any(quantizer.cluster_size[...][0])  # what was passed in is as it was


def test_badly_met_latents_are_taken_and_met_ones_are_not():
    distances = jnp.zeros(60).at[jnp.asarray([5, 17])].set(1.0)
    quantizer = quantizer_used(*(code for code in range(24) if code not in (0, 9)))
    after, restarted = restart(quantizer, distances)
    assert int(restarted) == 2
    taken = np.asarray(after.codebook[...])[[0, 9]]
    np.testing.assert_array_equal(np.sort(taken, 0), np.sort(np.asarray(LATENTS)[[5, 17]], 0))


def test_fewer_latents_than_dead_codes():
    after, restarted = restart(quantizer_used(1), jnp.ones(4), LATENTS[:4])
    assert int(restarted) == 4
    assert len(np.unique(np.asarray(after.codebook[...])[[0, 2, 3, 4]], axis=0)) == 4


def test_all_codes_start_from_data_and_the_key_decides_which():
    one, restarted = restart(quantizer_used(*range(24)), jnp.ones(60), step=0)
    assert int(restarted) == 24
    same, _ = restart(quantizer_used(*range(24)), jnp.ones(60), step=0)
    other, _ = restart(quantizer_used(*range(24)), jnp.ones(60), seed=1, step=0)
    np.testing.assert_array_equal(one.codebook[...], same.codebook[...])
    assert np.any(one.codebook[...] != other.codebook[...])
