"""What is computed for every picture: an extractor gives named rows, in batches of one compiled shape.

To add one, write a class with ``name``, ``needs`` and ``__call__(pictures, subjects)``:
pictures (n, height, width, 3) uint8, subjects a table of what each shows
(``prompt``, ``scene``, ``class_label``, or nothing), and the result arrays of n rows.
``name`` must tell its weights and settings from others; ``needs`` is what a
subject must have, or "": without it the extractor is left out.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from ..batching import in_batches, replicate
from ..errors import EvaluationError
from .clip_score import CaptionScorer
from .inception import Inception
from .inception_weights import fingerprint
from .resizing import prepare

POOL3, LOGITS, CLIP_COSINE = "pool3", "logits", "clip_cosine"

Rows = Mapping[str, np.ndarray]


class Extractor(Protocol):
    """Rows for pictures (n, height, width, 3) uint8 and what each shows."""

    name: str
    needs: str

    def __call__(self, pictures: np.ndarray, subjects: Sequence[Mapping[str, Any]]) -> Rows: ...


def fitting(extractors: Sequence[Extractor], subject: Mapping[str, Any]) -> list[Extractor]:
    """Those whose needs a subject meets."""
    return [one for one in extractors if not one.needs or one.needs in subject]


class InceptionFeatures:
    """``pool3`` (n, 2048) and ``logits`` (n, 1008) float32 of the FID network.

    resize: "pytorch_fid" or "clean_fid" (see ``resizing``); batch: pictures together, on each device of ``mesh``.
    """

    needs = ""

    def __init__(self, model: Inception, *, resize: str = "pytorch_fid", batch: int = 32, mesh: Mesh | None = None):
        self.model, self.resize, self.batch, self.mesh = replicate(model, mesh), resize, batch, mesh
        self.name = f"inception {fingerprint(model)} {resize}"

    def __call__(self, pictures: np.ndarray, subjects: Sequence[Mapping[str, Any]] = ()) -> Rows:
        resized = functools.partial(prepare, resize=self.resize)
        run = functools.partial(_run, self.model)
        features, logits = in_batches(run, pictures, self.batch, mesh=self.mesh, prepare=resized)
        return {POOL3: features, LOGITS: logits}


@jax.jit
def _run(model: Inception, pictures: jax.Array) -> tuple[jax.Array, jax.Array]:
    return model(pictures)


class ClipCosines:
    """``clip_cosine`` (n,) float32: how well each picture fits its prompt; batch: pictures together, on each device of the scorer's."""

    needs = "prompt"

    def __init__(self, scorer: CaptionScorer, *, batch: int = 32):
        self.scorer, self.batch = scorer, batch
        self.name = f"clip {fingerprint(scorer.text)}{fingerprint(scorer.image)}"

    def __call__(self, pictures: np.ndarray, subjects: Sequence[Mapping[str, Any]]) -> Rows:
        return {CLIP_COSINE: self.scorer(pictures, [subject["prompt"] for subject in subjects], batch=self.batch)}


def of_one_size(pictures: Sequence[np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Pictures (height, width, 3) stacked.  Raises EvaluationError naming the first that is of another size."""
    for picture, name in zip(pictures, names, strict=True):
        if picture.shape != pictures[0].shape:
            raise EvaluationError(
                f"{name} is {picture.shape[1]} x {picture.shape[0]} where {names[0]} is {pictures[0].shape[1]} x {pictures[0].shape[0]}; "
                "all pictures must be of one size (or set crop to centre)"
            )
    return np.stack(pictures)


def as_saved(pictures: np.ndarray, image_format: str, quality: int) -> np.ndarray:
    """Pictures (n, height, width, 3) uint8 as they come back from a file: unchanged for "png", with its losses for "jpeg"."""
    if image_format == "png":
        return pictures
    import io

    from PIL import Image

    saved = []
    for picture in pictures:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, format="JPEG", quality=quality)
        saved.append(np.asarray(Image.open(file).convert("RGB")))
    return np.stack(saved)


def mean_of(rows: np.ndarray) -> float:
    """The mean of (n,) rows, summed in float64.  Raises EvaluationError if one is not finite."""
    rows = np.asarray(rows, np.float64)
    if not np.isfinite(rows).all():
        raise EvaluationError(
            f"{int((~np.isfinite(rows)).sum())} of {len(rows)} scores are not finite; look at those pictures"
        )
    return float(rows.mean())
