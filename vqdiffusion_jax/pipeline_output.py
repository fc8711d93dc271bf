"""The output of a pipeline's calls: pictures and tokens of a batch or several, from the devices of this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from .errors import NonFiniteNumbers
from .sampling.loop import NOT_A_NUMBER


@dataclass(frozen=True)
class VQDiffusionOutput:
    """The pictures of a call, or of one batch of it.

    images: PIL images, or (n, height, width, 3) float32 in [0, 1] ("np") or uint8 ("uint8"), or None ("tokens").
    tokens: (n, length) int32.
    trajectory: (n, calls, length) int32 tokens after every network call, if asked for.
    indices: (n,) numbers of these pictures among those of the call: all of them, or, over several processes, the share
    of this one.
    """

    images: Any
    tokens: np.ndarray
    trajectory: np.ndarray | None
    indices: np.ndarray


def check_numbers(tokens: np.ndarray, indices: np.ndarray) -> None:
    """Raise NonFiniteNumbers if a picture's logits or pixels were NaN, as its tokens (n, length) tell."""
    bad = indices[(tokens == NOT_A_NUMBER).any(axis=1)]
    if len(bad):
        raise NonFiniteNumbers(
            f"picture {bad[0] + 1} of the call came out as NaN, {len(bad)} of {len(indices)} in its batch: the network "
            "overflows with this checkpoint or these text states; draw in float32, or take another checkpoint"
        )


def _pieces_here(array: jax.Array) -> list:
    """Return the shards that this process keeps, in the order of their rows."""
    shards = [shard for shard in array.addressable_shards if shard.replica_id == 0]
    return sorted(shards, key=lambda shard: shard.index[0].start or 0)


def rows_here(array: jax.Array) -> np.ndarray:
    """Return the numbers of the rows of a batch that this process keeps."""
    rows = [np.arange(array.shape[0])[shard.index[0]] for shard in _pieces_here(array)]
    return np.concatenate(rows) if rows else np.arange(0)


def numbers_here(array: jax.Array, keep: np.ndarray) -> np.ndarray:
    """Return the rows of a batch that this process holds and ``keep`` marks."""
    data = [np.asarray(shard.data) for shard in _pieces_here(array)]
    return np.concatenate(data)[keep] if data else np.zeros((0, *array.shape[1:]), array.dtype)


def joined(batches: list[VQDiffusionOutput]) -> VQDiffusionOutput:
    """Return all batches of a call as one; a trajectory that a callback cut short repeats its last tokens."""
    paths = [batch.trajectory for batch in batches if batch.trajectory is not None]
    longest = max((path.shape[1] for path in paths), default=0)
    paths = [np.pad(path, ((0, 0), (0, longest - path.shape[1]), (0, 0)), mode="edge") for path in paths]
    return VQDiffusionOutput(
        images=_joined_images([batch.images for batch in batches]),
        tokens=np.concatenate([batch.tokens for batch in batches]),
        trajectory=np.concatenate(paths) if paths else None,
        indices=np.concatenate([batch.indices for batch in batches]),
    )


def _joined_images(images: list[Any]) -> Any:
    """Return the pictures of all batches, lists of PIL images, arrays or None, as one of the same kind."""
    if images[0] is None:
        return None
    return sum(images, []) if isinstance(images[0], list) else np.concatenate(images)


def decoded_as(output_type: str, pasted: bool) -> str:
    """Return the form of pictures that ``generate`` makes; parts of a given image are pasted into uint8."""
    if output_type == "tokens":
        return "tokens"
    return "float" if output_type == "np" and not pasted else "uint8"


def as_images(pixels: np.ndarray | None, output_type: str) -> Any:
    """Return pictures (n, height, width, channels), uint8 or float32 in 0..255, as ``output_type`` names them."""
    if pixels is None or output_type == "uint8":
        return pixels
    if output_type == "np":
        return pixels.astype(np.float32) / 255.0
    from PIL import Image

    return [Image.fromarray(array) for array in pixels]
