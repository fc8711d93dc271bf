"""Samples of a model by a protocol: sample i has a random key of its own, so neither chunks nor processes change it."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..call import Call, settle
from ..files import write_whole
from ..pipeline import VQDiffusionPipeline
from ..sampling import KeyNoise, image_keys
from .extractors import Extractor, Subject
from .protocol import Protocol


def call_of(
    pipeline: VQDiffusionPipeline,
    protocol: Protocol,
    subjects: Sequence[Subject],
    indices: range,
    batch_size: int | None = None,
) -> Call:
    """Return the call that draws samples ``indices`` of those that ``subjects`` lists.

    Pixels are truncated to 8 bits, as the authors' code saves them.
    """
    chosen = [subjects[i] for i in indices]
    what: dict[str, Any] = {"num_images_per_prompt": len(chosen)}
    if "prompt" in chosen[0]:
        what = {"prompt": [subject.get("prompt") for subject in chosen]}
    elif "class_label" in chosen[0]:
        what = {"class_labels": [subject.get("class_label") for subject in chosen]}
    noise = KeyNoise(image_keys(protocol.seed, indices.start, len(indices)))
    settings = replace(protocol.sampling, **what, noise=noise, batch_size=batch_size, output_type="uint8")
    return settle(pipeline.config, pipeline.schedule, pipeline.tokenizer, settings)


def draw(pipeline: VQDiffusionPipeline, call: Call) -> np.ndarray:
    """Return the pictures of such a call: (n, height, width, 3) uint8."""
    return np.concatenate([batch.images for batch in pipeline.draw(call)])


def sample_rows(
    pipeline: VQDiffusionPipeline,
    protocol: Protocol,
    subjects: Sequence[Subject],
    extractors: Sequence[Extractor],
    *,
    batch_size: int | None = None,
    keep: Path | None = None,
) -> Callable[[range], dict[str, np.ndarray]]:
    """Return a function for ``ChunkStore.fill`` that draws a chunk and extracts its rows.

    keep: a folder to write the pictures to; None keeps their rows alone.
    """

    def rows(indices: range) -> dict[str, np.ndarray]:
        drawn = draw(pipeline, call_of(pipeline, protocol, subjects, indices, batch_size))
        drawn = through_file(drawn, protocol.image_format, protocol.jpeg_quality)
        if keep is not None:
            write_pictures(drawn, indices, keep)
        return extract(extractors, drawn, [subjects[i] for i in indices])

    return rows


def extract(
    extractors: Sequence[Extractor], pictures: np.ndarray, subjects: Sequence[Subject]
) -> dict[str, np.ndarray]:
    """Return the rows of all extractors, and the mean colour, so that a chunk is never empty."""
    rows: dict[str, np.ndarray] = {"mean_colour": pictures.mean(axis=(1, 2))}
    for extractor in extractors:
        rows |= extractor(pictures, subjects)
    return rows


def through_file(pictures: np.ndarray, image_format: str, quality: int) -> np.ndarray:
    """Return pictures (n, height, width, 3) uint8 as a file keeps them: unchanged by "png", lossy by "jpeg"."""
    if image_format == "png":
        return pictures
    saved = []
    for picture in pictures:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, format="JPEG", quality=quality)
        saved.append(np.asarray(Image.open(file).convert("RGB")))
    return np.stack(saved)


def write_pictures(pictures: np.ndarray, numbers: range, folder: Path) -> None:
    """Write each picture as ``000012.png``: the pixels that are measured, including what a JPEG lost."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in zip(numbers, pictures, strict=True):
        with write_whole(folder / f"{number:06d}.png") as place:
            Image.fromarray(picture).save(place, format="PNG")
