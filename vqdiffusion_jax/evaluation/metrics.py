"""From rows to numbers: each metric is one entry of ``METRICS``.

To add one, write a function of (samples, reference) and append a ``Metric``
that says which rows it reads; ``samples`` is a ChunkStore, ``reference`` a
``Reference``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..errors import EvaluationError
from .chunks import ChunkStore
from .following import Share, following, share
from .frechet import frechet_distance
from .inception_score import SPLITS, inception_score
from .judge.extractors import FEATURES, HELD_OUT, QUESTIONS, RIGHT
from .kid import kid
from .networks import CLIP_COSINE, LOGITS, POOL3, mean_of
from .precision_recall import precision_recall
from .quality_diversity import quality_diversity
from .statistics import UNKNOWN_COUNT, FeatureStatistics, warn_if_few

KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000


@dataclass(frozen=True)
class Reference:
    """What samples are compared with: rows of pictures, or statistics alone."""

    rows: ChunkStore | None = None
    statistics: FeatureStatistics | None = None

    def has(self, name: str) -> bool:
        return self.rows is not None and name in self.rows.names()


@dataclass
class Results:
    """Numbers by name, of how many pictures and how sure those that are shares are, and what has to be said about them."""

    scores: dict[str, float] = field(default_factory=dict)
    shares: dict[str, Share] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def merge(self, other: Results) -> Results:
        """These and the other's."""
        return Results(self.scores | other.scores, self.shares | other.shares, [*self.warnings, *other.warnings])


@dataclass(frozen=True)
class Metric:
    """``compute(samples, reference, network)``; network names what made the features.

    needs: rows of the samples; compares: rows of the reference, or "statistics" for its mean and covariance.
    """

    name: str
    needs: str
    compares: str
    compute: Callable[[ChunkStore, Reference, str, Results], dict[str, float]]


def _fid(samples: ChunkStore, reference: Reference, network: str, results: Results) -> dict[str, float]:
    drawn = FeatureStatistics.of(samples.stream(POOL3), network)
    real = reference.statistics or FeatureStatistics.of(reference.rows.stream(POOL3), network)
    _note_if_few(results, samples=drawn)
    if reference.statistics is None or real.count != UNKNOWN_COUNT:
        _note_if_few(results, reference=real)
    return {"fid": frechet_distance(drawn, real)}


def _note_if_few(results: Results, **sides: FeatureStatistics) -> None:
    for what, statistics in sides.items():
        if warning := warn_if_few(statistics.count, statistics.width, what):
            results.warnings.append(warning)


def _kid(samples: ChunkStore, reference: Reference, network: str, results: Results) -> dict[str, float]:
    mean, deviation = kid(
        samples.all(POOL3), reference.rows.all(POOL3), subsets=KID_SUBSETS, subset_size=KID_SUBSET_SIZE
    )
    return {"kid": mean, "kid_std": deviation}


def _inception_score(samples: ChunkStore, reference: Reference, network: str, results: Results) -> dict[str, float]:
    splits = min(SPLITS, samples.count)
    mean, deviation = inception_score(samples.stream(LOGITS), samples.count, splits=splits)
    return {"inception_score": mean, "inception_score_std": deviation}


def _precision_recall(samples: ChunkStore, reference: Reference, network: str, results: Results) -> dict[str, float]:
    precision, recall = precision_recall(samples.all(POOL3), reference.rows.all(POOL3))
    return {"precision": precision, "recall": recall}


def _quality_diversity(samples: ChunkStore, reference: Reference, network: str, results: Results) -> dict[str, float]:
    found, drawn, real = {}, samples.all(POOL3), reference.rows.all(POOL3)
    for model in ("gmm", "knn"):
        quality, diversity = quality_diversity(drawn, real, model=model)
        found |= {f"quality_score_{model}": quality, f"diversity_score_{model}": diversity}
    return found


def _clip_score(samples: ChunkStore, reference: Reference, network: str, results: Results) -> dict[str, float]:
    return {"clip_score": mean_of(samples.all(CLIP_COSINE))}


def _following(samples: ChunkStore, reference: Reference, network: str, results: Results) -> dict[str, float]:
    """Of the samples, and of the reference, real pictures, how often the judge itself is right."""
    found = following(samples.all(RIGHT), samples.all(HELD_OUT))
    for question, right in zip(QUESTIONS, reference.rows.all(RIGHT).T):
        if (real := share(right)) is not None:
            found[f"judge_{question}"] = real
    results.shares |= found
    return {name: one.value for name, one in found.items()}


def _judge_fid(samples: ChunkStore, reference: Reference, network: str, results: Results) -> dict[str, float]:
    drawn, real = (FeatureStatistics.of(store.stream(FEATURES)) for store in (samples, reference.rows))
    _note_if_few(results, samples=drawn, reference=real)
    return {"judge_fid": frechet_distance(drawn, real)}


def _judge_precision_recall(
    samples: ChunkStore, reference: Reference, network: str, results: Results
) -> dict[str, float]:
    precision, recall = precision_recall(samples.all(FEATURES), reference.rows.all(FEATURES))
    return {"judge_precision": precision, "judge_recall": recall}


METRICS = (
    Metric("fid", POOL3, "statistics", _fid),
    Metric("kid", POOL3, POOL3, _kid),
    Metric("inception_score", LOGITS, "", _inception_score),
    Metric("precision_recall", POOL3, POOL3, _precision_recall),
    Metric("quality_diversity", POOL3, POOL3, _quality_diversity),
    Metric("clip_score", CLIP_COSINE, "", _clip_score),
    Metric("following", RIGHT, RIGHT, _following),
    Metric("judge_fid", FEATURES, FEATURES, _judge_fid),
    Metric("judge_precision_recall", FEATURES, FEATURES, _judge_precision_recall),
)


def choose(names: list[str] | None, metrics: tuple[Metric, ...] = METRICS) -> tuple[Metric, ...]:
    """The metrics of these names, all if None.  Raises EvaluationError for an unknown one."""
    known = {metric.name: metric for metric in metrics}
    for name in names or ():
        if name not in known:
            raise EvaluationError(f"unknown metric {name!r}; known: {', '.join(known)}")
    return metrics if names is None else tuple(known[name] for name in names)


def measure(
    samples: ChunkStore, reference: Reference, network: str = "", *, metrics: tuple[Metric, ...] = METRICS
) -> Results:
    """Every metric whose rows are there; one that lacks them is left out with a warning that says what it needs."""
    results, there = Results(), samples.names()
    for metric in metrics:
        if metric.needs not in there:
            results.warnings.append(f"{metric.name} is left out: it needs {_NEEDS.get(metric.needs, metric.needs)}")
        elif metric.compares == "statistics" and reference.statistics is None and not reference.has(POOL3):
            results.warnings.append(f"{metric.name} is left out: it needs reference pictures or statistics")
        elif metric.compares not in ("", "statistics") and not reference.has(metric.compares):
            results.warnings.append(
                f"{metric.name} is left out: it needs reference pictures; statistics alone do not tell it"
            )
        else:
            results.scores |= metric.compute(samples, reference, network, results)
    return results


_NEEDS = {
    POOL3: "the FID Inception network (--inception=pt_inception-2015-12-05-6726825d.pth)",
    LOGITS: "the FID Inception network (--inception=pt_inception-2015-12-05-6726825d.pth)",
    CLIP_COSINE: "CLIP (--score_clip=ViT-B-32.pt) and a model that draws from text",
    RIGHT: "the judge (--judge=FILE) and a model that draws composed scenes from text",
    FEATURES: "the judge (--judge=FILE)",
}
