"""Reconstruction by a codec: PSNR, SSIM, use of codes and, with the Inception network, FID."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from ..batching import in_batches
from ..image_similarity import psnr, ssim
from ..models.vqgan import VQGAN, images_to_float, to_uint8
from .extractors import Extractor, Subject
from .metrics import finite_mean

PSNR, SSIM, TOKENS = "psnr", "ssim", "tokens"
MOST_DECIBELS = 100.0  # an exact reconstruction counts as this, or one of them would make every mean infinite


def reconstruction_rows(
    codec: VQGAN,
    pictures_of: Callable[[range], np.ndarray],
    extractors: Sequence[Extractor] = (),
    *,
    batch_size: int = 8,
    mesh: Mesh | None = None,
) -> Callable[[range], dict[str, np.ndarray]]:
    """Return a function for ``ChunkStore.fill`` that encodes and decodes a chunk of pictures.

    pictures_of: from a range of numbers to (n, size, size, 3) uint8.
    Rows: ``psnr`` and ``ssim`` (n,), ``tokens`` (n, length), and the extractors' of the reconstructions in 8 bits.
    batch_size: pictures together, on each device of ``mesh``, where the codec lies.
    """

    def rows(numbers: range) -> dict[str, np.ndarray]:
        pictures = pictures_of(numbers)
        tokens, rebuilt, ratio, similarity = in_batches(
            functools.partial(_rebuild, codec), pictures, batch_size, mesh=mesh
        )
        found = {TOKENS: tokens, PSNR: ratio, SSIM: similarity}
        for extractor in extractors:
            found |= extractor(rebuilt, [Subject() for _ in rebuilt])
        return found

    return rows


@jax.jit
def _rebuild(codec: VQGAN, pictures: jax.Array):
    tokens = codec.encode(images_to_float(pictures))
    rebuilt = to_uint8(codec.decode(tokens), rounding="round")
    return tokens, rebuilt, psnr(pictures, rebuilt), ssim(pictures, rebuilt)


def code_use(tokens: np.ndarray, num_codes: int) -> dict[str, float]:
    """Of tokens (n, length): the share of codes used at all, and the perplexity exp(entropy) of their frequencies."""
    counts = np.bincount(np.asarray(tokens).ravel(), minlength=num_codes)
    shares = counts[counts > 0] / counts.sum()
    return {
        "codes_used": float((counts > 0).mean()),
        "code_perplexity": float(np.exp(-(shares * np.log(shares)).sum())),
    }


def summarise(psnr_rows: np.ndarray, ssim_rows: np.ndarray, tokens: np.ndarray, num_codes: int) -> dict[str, float]:
    """All that needs no network."""
    return {
        PSNR: finite_mean(np.minimum(psnr_rows, MOST_DECIBELS)),
        SSIM: finite_mean(ssim_rows),
        **code_use(tokens, num_codes),
    }
