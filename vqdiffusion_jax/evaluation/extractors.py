"""Networks that look at pictures: an extractor gives named rows for them, in batches of one compiled shape.

To add one, write a class with the members of ``Extractor`` and give an instance to ``Networks(others=...)``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

import jax
import numpy as np
from jax.sharding import Mesh

from ..batching import in_batches, replicate
from .clip_score import CaptionScorer
from .identity import fingerprint
from .inception import Inception
from .resizing import prepare

if TYPE_CHECKING:
    from ..data.scenes.scene import Scene

POOL3, LOGITS, CLIP_COSINE = "pool3", "logits", "clip_cosine"

Rows = Mapping[str, np.ndarray]


class Subject(TypedDict, total=False):
    """The subject that one picture is to show; empty for an unconditional model."""

    prompt: str
    class_label: int
    scene: Scene  # of composed scenes


class Extractor(Protocol):
    """A function from pictures to rows.

    name: tells its weights and settings from others', as chunks of rows are kept under it.
    needs: the field of a ``Subject`` that it reads, or "".  It is left out where subjects lack the field.
    """

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> str: ...

    def __call__(self, pictures: np.ndarray, subjects: Sequence[Subject]) -> Rows:
        """Return arrays of n rows for pictures (n, height, width, 3) uint8 and what each is to show."""
        ...


def fitting(extractors: Sequence[Extractor], subject: Mapping[str, Any]) -> list[Extractor]:
    """Return the extractors whose needs ``subject`` meets."""
    return [extractor for extractor in extractors if not extractor.needs or extractor.needs in subject]


class InceptionFeatures:
    """``pool3`` (n, 2048) and ``logits`` (n, 1008) float32 of the FID network.

    resize: "pytorch_fid" or "clean_fid" (see ``resizing``).
    batch_size: pictures together, on each device of ``mesh``.
    """

    needs = ""

    def __init__(
        self, model: Inception, *, resize: str = "pytorch_fid", batch_size: int = 32, mesh: Mesh | None = None
    ):
        self.model, self.resize, self.batch_size, self.mesh = replicate(model, mesh), resize, batch_size, mesh
        self.name = f"inception {fingerprint(model)} {resize}"

    def __call__(self, pictures: np.ndarray, subjects: Sequence[Subject] = ()) -> Rows:
        resized = functools.partial(prepare, resize=self.resize)
        run = functools.partial(_run, self.model)
        features, logits = in_batches(run, pictures, self.batch_size, mesh=self.mesh, prepare=resized)
        return {POOL3: features, LOGITS: logits}


@jax.jit
def _run(model: Inception, pictures: jax.Array) -> tuple[jax.Array, jax.Array]:
    return model(pictures)


class ClipCosines:
    """``clip_cosine`` (n,) float32, the cosine of each picture and its prompt in CLIP's space.

    batch_size: pictures together, on each device of the scorer's mesh.
    """

    needs = "prompt"

    def __init__(self, scorer: CaptionScorer, *, batch_size: int = 32):
        self.scorer, self.batch_size = scorer, batch_size
        self.name = f"clip {fingerprint(scorer.text)}{fingerprint(scorer.image)}"

    def __call__(self, pictures: np.ndarray, subjects: Sequence[Subject]) -> Rows:
        prompts = [subject.get("prompt", "") for subject in subjects]
        return {CLIP_COSINE: self.scorer(pictures, prompts, batch_size=self.batch_size)}
