"""A codec's linear encoder and its codebook without training: principal components and k-means of cells of pixels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vqdiffusion_jax.config import VQGANConfig
from vqdiffusion_jax.data.compositions.composition import Composition, Thing
from vqdiffusion_jax.data.compositions.layouts import FULL, GROUPS, PLACES, Cell
from vqdiffusion_jax.data.compositions.library import ANY_COLOUR, Library
from vqdiffusion_jax.data.compositions.render import render
from vqdiffusion_jax.data.scenes.words import COLOURS
from vqdiffusion_jax.loading import write_folder
from vqdiffusion_jax.models.components import CodecComponent
from vqdiffusion_jax.models.quantizers import EMAQuantizer
from vqdiffusion_jax.models.shapes import make_rngs
from vqdiffusion_jax.models.vqgan import VQGAN, cut_into_windows

_LAYOUTS: tuple[tuple[Cell, ...], ...] = (FULL, PLACES["centre"], GROUPS[5][0])
_WHITE, _MOST, _FLAT = 5.0, 8.0, 1.0  # weight of a cell on white; most of any cell; a level of grey
_AT_ONCE = 8192
_STARTS = 128  # centres that start at once


def write_codec(folder: Path, config: VQGANConfig, library: Library, *, rounds: int = 10, seed: int = 0) -> dict:
    """Write a native codec folder for drawings of ``library``; return how many cells, codes and dB they are.

    The encoder's features are ``embed_dim`` principal components of cells.  Codes are the backgrounds, and centres by
    k-means of all other cells, each weighted by how many pictures have it.  The decoder undoes the encoder, and
    has yet to learn from neighbours.
    """
    cells, weights = _cells(library, config.cell, np.random.default_rng(seed))
    flat = np.ptp(cells.reshape(len(cells), -1, 3), axis=1).max(axis=-1) < _FLAT
    shown, weight = _floats(cells[~flat]), np.minimum(weights[~flat], _MOST).astype(np.float32)
    middle = np.average(shown, axis=0, weights=weight)
    centred = (shown - middle) * np.sqrt(weight)[:, None]
    _, vectors = np.linalg.eigh(centred.T @ centred)
    basis = vectors[:, ::-1][:, : config.embed_dim]
    kernel = _rounded(basis / np.sqrt(np.mean(np.square((shown - middle) @ basis))))
    bias = _rounded(-(middle @ kernel))
    features = shown @ kernel + bias
    grounds = _floats(np.array([np.tile(colour, config.cell**2) for colour in COLOURS.values()])) @ kernel + bias
    codes = config.codebook_size - len(grounds)
    codebook = _rounded(k_means(features, weight, grounds, codes, rounds=rounds, seed=seed))

    part = CodecComponent(config, rngs=make_rngs(seed))
    give_weights(part.codec, kernel, bias, middle, codebook)
    write_folder(folder, part, None, provenance="Encoder and codebook by k-means; the decoder is not trained yet.")
    chosen = _nearest_of_all(features, codebook)[0]
    means = np.zeros((len(codebook), shown.shape[1]), np.float32)  # the best picture of each code alone
    _add(means, chosen, shown * weight[:, None])
    means /= np.maximum(np.bincount(chosen, weight, len(codebook)), 1e-9)[:, None]
    error = np.average(np.square(shown - means[chosen]).mean(axis=1), weights=weight)
    return {"cells": len(shown), "codes": len(np.unique(chosen)), "psnr": float(10 * np.log10(4.0 / error))}


def give_weights(codec: VQGAN, kernel: np.ndarray, bias: np.ndarray, middle: np.ndarray, codebook: np.ndarray) -> None:
    """Set encoder and codebook, and of the decoder what undoes the encoder: its tower adds nothing yet.

    kernel (pixels, width), bias (width,): of the encoder.  middle (pixels,): the mean cell.
    """
    width = len(bias)
    same, last = (np.eye(width), np.zeros(width)), codec.decoder.tower.last
    for layer, weights in (
        (codec.encoder.linear, (kernel, bias)),
        (codec.quant_conv, same),
        (codec.post_quant_conv, same),
        (codec.decoder.linear, (np.linalg.pinv(kernel), middle)),
        (last, (np.zeros(last.kernel.shape), np.zeros(last.bias.shape))),
    ):
        layer.kernel, layer.bias = (nnx.Param(jnp.asarray(value, jnp.float32)) for value in weights)
    quantizer = codec.quantizer
    assert isinstance(quantizer, EMAQuantizer)  # as the configuration says
    quantizer.codebook[...] = quantizer.codebook_sum[...] = jnp.asarray(codebook)


def k_means(
    points: np.ndarray, weights: np.ndarray, fixed: np.ndarray, count: int, *, rounds: int, seed: int
) -> np.ndarray:
    """Return centres (len(fixed) + count, width) of points (n, width) by Lloyd's rounds; ``fixed`` ones do not move.

    Others start at points drawn by weight times squared distance from the nearest centre so far, many at once, as
    k-means++ does one by one (Arthur and Vassilvitskii 2007), so that no two are nearly the same.
    """
    if len(points) < count:
        raise ValueError(f"{len(points)} different cells for {count} codes; take a smaller codebook or more drawings")
    rng, centres, total = np.random.default_rng(seed), fixed, len(fixed) + count
    far = _nearest_of_all(points, centres)[1]
    while len(centres) < total:
        chance = far * weights
        many = min(_STARTS, 1 + len(centres) // 8, total - len(centres), int((chance > 0).sum()))
        if not many:
            raise ValueError(f"fewer different cells than {count} codes; take a smaller codebook or more drawings")
        new = points[rng.choice(len(points), many, replace=False, p=chance / chance.sum())]
        far = np.minimum(far, _nearest_of_all(points, new)[1])
        centres = np.concatenate([centres, new])
    for _ in range(rounds):
        index = _nearest_of_all(points, centres)[0]
        sums, mass = np.zeros_like(centres), np.bincount(index, weights, total).astype(np.float32)
        _add(sums, index, points * weights[:, None])
        centres = np.where((mass == 0)[:, None], centres, sums / np.maximum(mass, 1e-9)[:, None])
        centres[: len(fixed)] = fixed
    return centres


def _add(sums: np.ndarray, index: np.ndarray, rows: np.ndarray) -> None:
    """Add each row to the one of ``sums`` that its index says; several times as fast as ``np.add.at``."""
    order = np.argsort(index, kind="stable")
    there, starts = np.unique(index[order], return_index=True)
    sums[there] += np.add.reduceat(rows[order], starts, axis=0)


@jax.jit
def _search(points: jax.Array, centres: jax.Array) -> tuple[jax.Array, jax.Array]:
    distance = (centres**2).sum(axis=1) - 2.0 * points @ centres.T
    return distance.argmin(axis=1), distance.min(axis=1) + (points**2).sum(axis=1)


def _nearest(points: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    index, distance = _search(jnp.asarray(points), jnp.asarray(centres))
    return np.asarray(index), np.maximum(np.asarray(distance), 0.0)


def _nearest_of_all(points: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = [_nearest(piece, centres) for piece in _pieces(points)]
    return np.concatenate([index for index, _ in found]), np.concatenate([distance for _, distance in found])


def _floats(cells: np.ndarray) -> np.ndarray:
    return cells.astype(np.float32) / 127.5 - 1.0


def _rounded(values: np.ndarray) -> np.ndarray:
    """Return values as bfloat16 holds them, in float32."""
    return np.asarray(jnp.asarray(values, jnp.bfloat16).astype(jnp.float32))


def _pieces(values: np.ndarray) -> list[np.ndarray]:
    return [values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE)]


def _cells(library: Library, side: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the different cells (n, side x side x 3) uint8 of the drawings, and their weights (n,)."""
    found: dict[bytes, float] = {}
    for composition in _compositions(library, rng):
        weight = _WHITE if composition.background == "white" else 1.0
        for cell in np.asarray(cut_into_windows(jnp.asarray(render(composition, library)[None]), side)):
            key = cell.tobytes()
            found[key] = found.get(key, 0.0) + weight
    cells = np.frombuffer(b"".join(found), np.uint8).reshape(len(found), -1)
    return cells, np.fromiter(found.values(), float)


def _compositions(library: Library, rng: np.random.Generator) -> Iterator[Composition]:
    """Yield every drawing large, small and five times, on all backgrounds; in other colours on white and another."""
    others = [name for name in COLOURS if name != "white"]
    for concept in library.concepts:
        for style, row in library.styles_of(concept).items():
            colours = library.colours_of(row)
            told: list[tuple[str, Any]] = [] if style == ANY_COLOUR else [("", list(COLOURS))]
            told += [(colour, ["white", others[int(rng.random() * len(others))]]) for colour in colours]
            for colour, backgrounds in told:
                for background in backgrounds:
                    if library.shows_on(row, colour, background):
                        for cells in _LAYOUTS:
                            thing = Thing(drawing=row, concept=concept, style=style, colour=colour, count=len(cells))
                            yield Composition(things=(thing,), cells=cells, background=background)
