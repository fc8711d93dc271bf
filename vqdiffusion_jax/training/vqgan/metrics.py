"""How good reconstructions are, and how much of a codebook is in use."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

WINDOW, DEVIATION = 11, 1.5  # pixels; of the Gaussian that SSIM looks through
STABILIZERS = (0.01**2, 0.03**2)  # for pixels in [0, 1]
LEAST_ERROR = 1e-10  # 100 dB, where two pictures are equal


def psnr(one: Array, other: Array) -> Array:
    """Peak signal to noise ratio in dB of every pair: images (batch, height, width, channels) in [0, 1] -> (batch,) float32."""
    error = jnp.mean(jnp.square(one - other), axis=(1, 2, 3))
    return -10.0 * jnp.log10(jnp.maximum(error, LEAST_ERROR))


def ssim(one: Array, other: Array) -> Array:
    """Structural similarity of every pair (Wang et al. 2004): images (batch, height, width, channels) in [0, 1] -> (batch,) float32.

    Gaussian window 11 wide, every channel by itself, the mean over all places where the window lies inside the picture.
    """
    mean_one, mean_other = _blur(one), _blur(other)
    variance_one = _blur(jnp.square(one)) - jnp.square(mean_one)
    variance_other = _blur(jnp.square(other)) - jnp.square(mean_other)
    covariance = _blur(one * other) - mean_one * mean_other
    c1, c2 = STABILIZERS
    luminance = (2.0 * mean_one * mean_other + c1) / (jnp.square(mean_one) + jnp.square(mean_other) + c1)
    structure = (2.0 * covariance + c2) / (variance_one + variance_other + c2)
    return jnp.mean(luminance * structure, axis=(1, 2, 3))


def _blur(images: Array) -> Array:
    places = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-0.5 * np.square(places / DEVIATION))
    weights = jnp.asarray(weights / weights.sum(), jnp.float32)
    channels = images.shape[-1]
    for shape in ((WINDOW, 1), (1, WINDOW)):  # variances are differences of nearly equal numbers, hence the highest precision
        kernel = jnp.broadcast_to(weights.reshape(*shape, 1, 1), (*shape, 1, channels))
        images = jax.lax.conv_general_dilated(
            images, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=channels,
            precision=jax.lax.Precision.HIGHEST,
        )  # fmt: skip
    return images


def use_of_codes(counts: Array) -> tuple[Array, Array]:
    """How often each code was chosen (n,) -> (share of codes chosen at all, perplexity exp(-sum p ln p), at most n), scalars."""
    probabilities = counts / jnp.maximum(counts.sum(), 1)
    entropy = -jnp.sum(jnp.where(counts > 0, probabilities * jnp.log(jnp.maximum(probabilities, 1e-38)), 0.0))
    return jnp.mean((counts > 0).astype(jnp.float32)), jnp.exp(entropy)
