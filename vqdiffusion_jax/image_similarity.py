"""PSNR and SSIM of pairs of pictures.

Pictures are (batch, height, width, channels), uint8 or float, pixels 0..255.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

PEAK = 255.0
# Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity", section III-C.
WINDOW, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03


def psnr(a: Array, b: Array) -> Array:
    """Return the peak signal-to-noise ratio in decibels, 10 log10(255^2 / mean squared error): (batch,) float32.

    It is infinite for equal pictures.  Raises ValueError if the shapes differ or are not (batch, height, width,
    channels).
    """
    a, b = _pair(a, b)
    error = jnp.mean(jnp.square(a - b), axis=(1, 2, 3))
    return 10.0 * jnp.log10(PEAK**2 / error)


def ssim(a: Array, b: Array) -> Array:
    """Return the structural similarity (Wang et al. 2004): (batch,) float32, at most 1.

    The window is an 11 x 11 Gaussian of standard deviation 1.5; K1 = 0.01, K2 = 0.03.  The mean is over the channels,
    each on its own, and over all positions where the window fits, without padding.  Raises ValueError if the shapes
    differ, are not (batch, height, width, channels), or if the pictures are smaller than the window.
    """
    a, b = _pair(a, b)
    if min(a.shape[1:3]) < WINDOW:
        raise ValueError(
            f"ssim: pictures are {a.shape[1]} x {a.shape[2]}; its window needs at least {WINDOW} x {WINDOW} pixels"
        )
    # Variances do not depend on an offset, and squares of small numbers lose fewer digits in float32.
    a, b = a - PEAK / 2, b - PEAK / 2
    mean_a, mean_b, aa, bb, ab = (_blur(x) for x in (a, b, a * a, b * b, a * b))
    variances = (aa - mean_a**2) + (bb - mean_b**2)
    covariance = ab - mean_a * mean_b
    mean_a, mean_b = mean_a + PEAK / 2, mean_b + PEAK / 2
    c1, c2 = (K1 * PEAK) ** 2, (K2 * PEAK) ** 2
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2) / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))
    return jnp.mean(similarity, axis=(1, 2, 3))


def _pair(a: Array, b: Array) -> tuple[Array, Array]:
    if jnp.shape(a) != jnp.shape(b) or jnp.ndim(a) != 4:
        raise ValueError(
            f"pictures have shapes {jnp.shape(a)} and {jnp.shape(b)};"
            " both must be the same (batch, height, width, channels)"
        )
    return jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)


def _blur(x: Array) -> Array:
    """Return the Gaussian-weighted mean at every position where the window fits; one pass an axis."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    window = np.exp(-0.5 * (offsets / SIGMA) ** 2)
    window = jnp.asarray(window / window.sum(), jnp.float32)
    planes = jnp.moveaxis(x, 3, 1)[..., None].reshape(-1, *x.shape[1:3], 1)
    for shape in ((WINDOW, 1, 1, 1), (1, WINDOW, 1, 1)):
        planes = jax.lax.conv_general_dilated(
            planes,
            window.reshape(shape),
            (1, 1),
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=jax.lax.Precision.HIGHEST,
        )
    return planes.reshape(x.shape[0], -1, *planes.shape[1:3], 1)[..., 0].transpose(0, 2, 3, 1)
