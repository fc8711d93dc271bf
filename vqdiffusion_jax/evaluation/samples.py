"""Samples of a model by a protocol: sample i has a key of its own, so neither chunks nor processes change it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..files import write_whole
from ..pipeline import VQDiffusionPipeline
from ..sampling import KeyNoise, image_keys
from .networks import Extractor, as_saved
from .protocol import Protocol


def draw(
    pipeline: VQDiffusionPipeline,
    protocol: Protocol,
    shown: Sequence[Mapping[str, Any]],
    pictures: range,
    batch_size: int | None = None,
) -> np.ndarray:
    """Samples ``pictures`` of those that ``shown`` lists: (n, height, width, 3) uint8, truncated to 8 bits as the reference saves them."""
    part = [shown[i] for i in pictures]
    what = {}
    if "prompt" in part[0]:
        what["prompt"] = [one["prompt"] for one in part]
    elif "class_label" in part[0]:
        what["class_labels"] = [one["class_label"] for one in part]
    else:
        what["num_images_per_prompt"] = len(part)
    noise = KeyNoise(image_keys(protocol.seed, pictures.start, len(pictures)))
    result = pipeline(**what, **protocol.sampling(), noise=noise, batch_size=batch_size, output_type="uint8")
    return result.images


def sample_rows(
    pipeline: VQDiffusionPipeline,
    protocol: Protocol,
    shown: Sequence[Mapping[str, Any]],
    extractors: Sequence[Extractor],
    *,
    batch_size: int | None = None,
    keep: Path | None = None,
) -> Callable[[range], dict[str, np.ndarray]]:
    """What ``ChunkStore.fill`` calls: draws a chunk and extracts its rows.

    keep: folder to write the pictures to; None keeps rows alone.
    """

    def rows(pictures: range) -> dict[str, np.ndarray]:
        drawn = as_saved(
            draw(pipeline, protocol, shown, pictures, batch_size), protocol.image_format, protocol.jpeg_quality
        )
        if keep is not None:
            write_pictures(drawn, pictures, keep)
        return extract(extractors, drawn, [shown[i] for i in pictures])

    return rows


def extract(
    extractors: Sequence[Extractor], pictures: np.ndarray, shown: Sequence[Mapping[str, Any]]
) -> dict[str, np.ndarray]:
    """The rows of all extractors; without any, the mean colour, so that a chunk is never empty."""
    rows: dict[str, np.ndarray] = {"mean_colour": pictures.mean(axis=(1, 2))}
    for extractor in extractors:
        rows |= extractor(pictures, shown)
    return rows


def write_pictures(pictures: np.ndarray, numbers: range, folder: Path) -> None:
    """Each picture as ``000012.png``: the very pixels that are measured, with what a JPEG lost if the protocol has it lose something."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in zip(numbers, pictures, strict=True):
        with write_whole(folder / f"{number:06d}.png") as place:
            Image.fromarray(picture).save(place, format="PNG")
