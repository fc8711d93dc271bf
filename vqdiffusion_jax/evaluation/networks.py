"""The networks of an evaluation, by file or loaded, and their extractors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jax.sharding import Mesh

from .clip_score import CaptionScorer, load_towers
from .extractors import ClipCosines, Extractor, InceptionFeatures
from .inception import Inception
from .inception_weights import load_inception
from .judge import Judge, load_judge
from .judge.extractors import JudgeAnswers, JudgeFeatures


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
            judge = load_judge(judge) if isinstance(judge, str | Path) else judge
            found += [JudgeFeatures(judge, mesh=mesh), JudgeAnswers(judge, mesh=mesh)]
        if (clip := self.clip) is not None:
            scorer = CaptionScorer(*load_towers(clip), mesh=mesh) if isinstance(clip, str | Path) else clip
            found.append(ClipCosines(scorer))
        return [*found, *self.others]
