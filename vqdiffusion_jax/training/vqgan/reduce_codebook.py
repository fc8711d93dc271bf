"""Reducing a codebook to the codes that a data set uses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...models.codebook_reduction import reduction_from_full
from ...models.components import CodecComponent
from ...models.layers import Buffer
from ...models.shapes import shapes_of
from ...models.vqgan import VQGAN, encode_exactly, images_to_float
from ...random_keys import key_of


def count_codes(codec: VQGAN, batches: Iterable[dict[str, Any]], *, seed: int = 0) -> np.ndarray:
    """Return each code's number in ``batches`` of {"images": (batch, height, width, 3) uint8}: (codebook_size,) int64.

    A ``gumbel`` codec draws its tokens, as it does where a denoiser is trained on them.
    """

    @jax.jit
    def counted(codec: VQGAN, images: jax.Array, key: jax.Array) -> jax.Array:
        return jnp.bincount(
            encode_exactly(codec, images_to_float(images), key=key).reshape(-1), length=codec.config.codebook_size
        )

    counts = np.zeros(codec.config.codebook_size, np.int64)
    for number, batch in enumerate(batches):
        counts += np.asarray(counted(codec, batch["images"], jax.random.fold_in(key_of(seed), number)))
    return counts


def kept_codes(counts: np.ndarray, *, least: int = 1) -> np.ndarray:
    """Return a table of the reference's kind, full code -> reduced code, (codebook_size,) int64.

    Codes counted at least ``least`` times keep their order and get 1, 2, ...; 0 stands for code 0 and for every dropped
    one.
    """
    kept = np.asarray(counts) >= least
    kept[0] = False
    table = np.where(kept, np.cumsum(kept), 0).astype(np.int64)
    reduction_from_full(table)  # raises if it is no such table
    return table


def reduced_part(codec: VQGAN, table: np.ndarray) -> CodecComponent:
    """Return ``codec`` with only the codes that ``table`` (codebook_size,) keeps, to be written; arrays are shared."""
    reduction = reduction_from_full(table, codebook_size=codec.config.codebook_size)
    config = replace(codec.config, reduced_codebook_size=len(reduction.reduced_to_full))
    part = shapes_of(CodecComponent, config)
    for name in ("encoder", "quant_conv", "quantizer", "post_quant_conv", "decoder"):
        setattr(part.codec, name, getattr(codec, name))
    part.codec.full_to_reduced = Buffer(jnp.asarray(reduction.full_to_reduced))
    part.codec.reduced_to_full = Buffer(jnp.asarray(reduction.reduced_to_full))
    return part
