import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqdiffusion_jax.diffusion import gumbel_from_uniform
from vqdiffusion_jax.sampling import KeyNoise, RecordedNoise, image_keys


def test_an_image_has_the_same_noise_in_any_batch():
    whole = KeyNoise(image_keys(3, 0, 5))
    part = KeyNoise(image_keys(3, 2, 2))
    for draw in (0, 7):
        np.testing.assert_array_equal(whole.gumbel(draw, (5, 4, 6))[2:4], part.gumbel(draw, (2, 4, 6)))
        np.testing.assert_array_equal(whole.exponential(draw, (5, 4))[2:4], part.exponential(draw, (2, 4)))


def test_images_draws_and_seeds_differ():
    noise = KeyNoise(image_keys(0, 0, 2))
    first = np.asarray(noise.gumbel(0, (2, 3, 5)))
    assert not np.any(first[0] == first[1])
    assert not np.any(first == np.asarray(noise.gumbel(1, (2, 3, 5))))
    assert not np.any(first == np.asarray(KeyNoise(image_keys(1, 0, 2)).gumbel(0, (2, 3, 5))))


def test_a_key_serves_as_seed():
    np.testing.assert_array_equal(
        jax.random.key_data(image_keys(5, 1, 2)), jax.random.key_data(image_keys(jax.random.key(5), 1, 2))
    )


def test_distributions():
    noise = KeyNoise(image_keys(0, 0, 1))
    gumbel = np.asarray(noise.gumbel(0, (1, 100, 1000)))
    exponential = np.asarray(noise.exponential(0, (1, 100_000)))
    assert np.isfinite(gumbel).all()
    assert abs(gumbel.mean() - np.euler_gamma) < 0.02 and abs(gumbel.var() - np.pi**2 / 6) < 0.04
    assert exponential.min() >= 0 and abs(exponential.mean() - 1.0) < 0.02
    assert abs(np.corrcoef(gumbel.reshape(-1), exponential)[0, 1]) < 0.02


def test_recorded_noise_replays_and_may_be_traced():
    uniforms = np.random.default_rng(0).random((3, 2, 4, 5), np.float32)
    exponentials = np.ones((3, 2, 4), np.float32)
    noise = RecordedNoise(uniforms, exponentials)
    assert noise.num_draws == 3 and KeyNoise(image_keys(0, 0, 1)).num_draws is None
    out = jax.jit(lambda n, i: n.gumbel(i, (2, 4, 5)))(noise, jnp.int32(1))
    # -log(y) moves by dy / y, so where y = -log(u) is near 1 one rounding of y shows as that much in a result near 0.
    np.testing.assert_allclose(out, gumbel_from_uniform(uniforms[1]), rtol=1e-6, atol=np.finfo(np.float32).eps)
    assert noise.exponential(2, (2, 4)).shape == (2, 4)


def test_wrong_shapes_are_one_line_errors():
    with pytest.raises(ValueError, match="one key a picture"):
        KeyNoise(image_keys(0, 0, 2)).gumbel(0, (3, 4, 5))
    with pytest.raises(ValueError, match="holds draws of shape"):
        RecordedNoise(np.zeros((1, 2, 4, 5), np.float32)).gumbel(0, (2, 4, 6))
    with pytest.raises(ValueError, match="chooses positions"):
        RecordedNoise(np.zeros((1, 2, 4, 5), np.float32)).exponential(0, (2, 4))
