"""Resizing of uint8 pictures for the Inception network.  Each way has a name, as FID differs by whole points.

- ``pytorch_fid``: bilinear between the four nearest pixels, without low-pass filter, to 299 x 299; x / 255 * 2 - 1.  As
  pytorch-fid 0.3.0 (``F.interpolate(mode="bilinear", align_corners=False)``).
- ``clean_fid``: Pillow's bicubic on every channel as floats, with low-pass filter, clipped to 0..255; (x - 128) / 128.
  As clean-fid's "clean" mode (Parmar et al. 2022, "On aliased resizing and surprising subtleties in GAN evaluation").
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from ..errors import EvaluationError
from .inception import SIZE

RESIZES = ("pytorch_fid", "clean_fid")


def prepare(pictures: np.ndarray, resize: str = "pytorch_fid") -> jax.Array:
    """Pictures (batch, height, width, 3) uint8 -> (batch, 299, 299, 3) float32 for ``Inception``.

    Raises EvaluationError for another way of resizing, dtype or shape.
    """
    if resize not in RESIZES:
        raise EvaluationError(f"resize is {resize!r}; allowed: {', '.join(RESIZES)}")
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3:
        raise EvaluationError(
            f"pictures are {pictures.dtype} {pictures.shape}; they must be uint8 (batch, height, width, 3)"
        )
    if resize == "clean_fid":
        resized = np.stack([bicubic(picture, SIZE) for picture in pictures])
        return (jnp.asarray(resized) - 128.0) / 128.0
    return 2.0 * bilinear(jnp.asarray(pictures, jnp.float32) / 255.0, SIZE) - 1.0


def bilinear(x: jax.Array, size: int) -> jax.Array:
    """Return x (batch, height, width, channels) float32 as (batch, size, size, channels), without low-pass filter."""
    for axis in (1, 2):
        low, high, share = _neighbours(x.shape[axis], size)
        share = share.reshape(-1, *(1,) * (3 - axis))
        x = jnp.take(x, low, axis=axis) * (1.0 - share) + jnp.take(x, high, axis=axis) * share
    return x


def _neighbours(length: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return, for each of ``size`` places, its two neighbours of ``length`` pixels and the second one's weight.

    The weights are float32, computed as PyTorch does.
    """
    # PyTorch multiplies and subtracts in one rounding; two would move the weights by up to 1e-5.
    ratio = np.float64(np.float32(length) / np.float32(size))
    place = np.maximum((ratio * (np.arange(size) + 0.5) - 0.5).astype(np.float32), np.float32(0.0))
    low = np.minimum(place.astype(np.int32), length - 1)
    return low, np.minimum(low + 1, length - 1), place - low.astype(np.float32)


def bicubic(picture: np.ndarray, size: int) -> np.ndarray:
    """Return a picture (height, width, 3) as (size, size, 3) float32 in 0..255, resized by Pillow in floating point."""
    channels = [Image.fromarray(picture[..., i].astype(np.float32)) for i in range(picture.shape[2])]
    resized = [np.asarray(channel.resize((size, size), Image.Resampling.BICUBIC)) for channel in channels]
    return np.clip(np.stack(resized, axis=-1), 0.0, 255.0).astype(np.float32)
