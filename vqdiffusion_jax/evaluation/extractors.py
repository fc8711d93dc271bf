"""Networks that look at pictures: an extractor gives named rows for them, in batches of one compiled shape.

To add one, write a class with the members of ``Extractor`` and give an instance to ``Networks(others=...)``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

import jax
import numpy as np
from jax.sharding import Mesh

from ..batching import in_batches, replicate
from .clip_score import CaptionScorer, load_towers
from .identity import fingerprint
from .inception import Inception
from .inception_weights import load_inception
from .resizing import prepare

if TYPE_CHECKING:
    from ..data.scenes.scene import Scene
    from .judge.model import Judge

POOL3, LOGITS, CLIP_COSINE = "pool3", "logits", "clip_cosine"

Rows = Mapping[str, np.ndarray]


class Subject(TypedDict, total=False):
    """What one picture is to show; empty for an unconditional model."""

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


@dataclass(frozen=True, kw_only=True)
class Networks:
    """The networks of an evaluation; scores of one that is not given are left out.

    inception: FID's network, or its file pt_inception-2015-12-05-6726825d.pth.
    clip: ViT-B-32.pt or a folder of CLIP ViT-B/32, for the CLIP score.
    judge: a judge of composed scenes, or the file that ``python -m vqdiffusion_jax.evaluation.judge`` wrote.
    others: further extractors.
    """

    inception: Inception | str | Path | None = None
    clip: CaptionScorer | str | Path | None = None
    judge: Judge | str | Path | None = None
    others: Sequence[Extractor] = ()

    def extractors(self, *, resize: str, mesh: Mesh | None = None) -> list[Extractor]:
        """Return an extractor for each network, its weights whole on every device of ``mesh``.

        resize: how pictures are resized for Inception (see ``resizing``).  Raises EvaluationError or what reading a
        foreign file raises, one line, for a file that is not there or is another one.
        """
        found: list[Extractor] = []
        if (inception := self.inception) is not None:
            model = load_inception(inception) if isinstance(inception, str | Path) else inception
            found.append(InceptionFeatures(model, resize=resize, mesh=mesh))
        if (judge := self.judge) is not None:
            from .judge import load_judge
            from .judge.extractors import JudgeAnswers, JudgeFeatures

            judge = load_judge(judge) if isinstance(judge, str | Path) else judge
            found += [JudgeFeatures(judge, mesh=mesh), JudgeAnswers(judge, mesh=mesh)]
        if (clip := self.clip) is not None:
            scorer = CaptionScorer(*load_towers(clip), mesh=mesh) if isinstance(clip, str | Path) else clip
            found.append(ClipCosines(scorer))
        return [*found, *self.others]
