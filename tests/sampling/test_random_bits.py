"""Bits and Gumbel noise are those of JAX's own generator, and a draw by them is the plain one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqdiffusion_jax.config import ScheduleConfig
from vqdiffusion_jax.diffusion.schedule import make_schedule
from vqdiffusion_jax.diffusion.transitions import (
    log_softmax,
    posterior,
    predict_start,
    sample_categorical,
    sample_posterior,
)
from vqdiffusion_jax.sampling import KeyNoise, combine, image_keys
from vqdiffusion_jax.sampling.random_bits import gumbel, random_bits, threefry_2x32


def test_the_cipher_gives_the_published_answers():
    """The known answers of threefry2x32 with 20 rounds, from the authors' Random123 library."""
    for key, counter, expected in (
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ):
        words = threefry_2x32(tuple(map(jnp.uint32, key)), *map(jnp.uint32, counter))
        assert tuple(int(word) for word in words) == expected


@pytest.mark.parametrize("shape", [(5,), (3, 7), (2, 3, 4)])
def test_bits_and_gumbel_are_those_of_jax(shape):
    key = jax.random.fold_in(jax.random.key(11), 3)
    np.testing.assert_array_equal(random_bits(key, shape), jax.random.bits(key, shape))
    np.testing.assert_allclose(gumbel(key, shape), jax.random.gumbel(key, shape), rtol=1e-6, atol=1e-6)


def test_too_many_bits_are_refused():
    with pytest.raises(ValueError, match="more than 2\\*\\*32"):
        random_bits(jax.random.key(0), (2**20, 2**13))


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_noise_of_any_kind_of_key(impl):
    keys = image_keys(jax.random.key(0, impl=impl), 0, 2)
    noise = KeyNoise(keys).gumbel(4, (2, 3, 5))
    if impl == "threefry2x32":
        row = jax.random.gumbel(jax.random.fold_in(jax.random.fold_in(keys[1], 4), 0), (3, 5))
        np.testing.assert_allclose(noise[1], row, rtol=1e-6, atol=1e-6)
    assert noise.shape == (2, 3, 5) and np.isfinite(noise).all()


def test_drawing_from_the_posterior_equals_laying_it_out():
    codes, length = 40, 64
    schedule = make_schedule(ScheduleConfig(num_codes=codes, num_timesteps=10))
    keys = jax.random.split(jax.random.key(0), 4)
    tokens = jax.random.randint(keys[0], (2, length), 0, codes + 1)
    log_x0 = predict_start(jax.random.normal(keys[1], (2, length, codes)) * 3)
    noise = jax.random.gumbel(keys[2], (2, length, codes + 1))
    drawn = []
    for timestep in (9, 5, 0):
        jump = jax.tree.map(lambda table, t=timestep: table[t], schedule.one_step_jumps())
        drawn.append(jax.jit(sample_posterior)(log_x0, tokens, jump, noise))
        np.testing.assert_array_equal(drawn[-1], np.argmax(posterior(log_x0, tokens, jump) + noise, axis=-1))
    assert (np.asarray(drawn[0]) == codes).any() and (np.asarray(drawn[0]) < codes).any()


def test_the_first_of_equals_is_drawn():
    log_prob = jnp.asarray([[0.0, 2.0, 2.0, -1.0], [1.0, 1.0, 1.0, 1.0]])
    np.testing.assert_array_equal(jax.jit(sample_categorical)(log_prob, jnp.zeros_like(log_prob)), [1, 0])


def test_log_softmax_is_jax_s_with_its_gradient():
    x = jax.random.normal(jax.random.key(0), (3, 4, 50)) * 10
    np.testing.assert_allclose(log_softmax(x), jax.nn.log_softmax(x), rtol=1e-6, atol=1e-6)
    weights = jax.random.normal(jax.random.key(1), x.shape)
    ours, theirs = (
        jax.jit(jax.grad(lambda x, f=f: (f(x) * weights).sum()))(x) for f in (log_softmax, jax.nn.log_softmax)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    assert np.isfinite(combine(log_softmax(x), log_softmax(x[::-1]), 5.0)).all()
