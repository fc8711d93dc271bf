"""From rows to scores: each metric is one entry of ``METRICS``.

To add one, write a function of (samples, reference), a ChunkStore and a ``ReferenceFeatures``, that returns
``Results``, and put it into a ``Metric`` that says which rows it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import EvaluationError, tell
from .chunks import ChunkStore
from .extractors import CLIP_COSINE, LOGITS, POOL3
from .following import Share, following, share
from .frechet import frechet_distance
from .inception_score import SPLITS, inception_score
from .judge.extractors import FEATURES, HELD_OUT, QUESTIONS, RIGHT
from .kid import kid
from .precision_recall import precision_recall
from .quality_diversity import quality_diversity
from .statistics import UNKNOWN_COUNT, FeatureStatistics, warn_if_few

KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000
STATISTICS = "statistics"  # what a metric compares with: mean and covariance of the reference's ``pool3``


@dataclass(frozen=True)
class ReferenceFeatures:
    """The features that samples are compared with: rows of the reference pictures, or their mean and covariance alone.

    network: name of the Inception network that made samples' and reference's ``pool3``, "" if unknown.
    """

    rows: ChunkStore | None = None
    statistics: FeatureStatistics | None = None
    network: str = ""

    def has(self, name: str) -> bool:
        """Return whether there are rows of that name; STATISTICS are there too if given, or from ``pool3``."""
        if name == STATISTICS and (self.statistics is not None or self.has(POOL3)):
            return True
        return self.rows is not None and name in self.rows.names()

    def stream(self, name: str) -> Iterator[np.ndarray]:
        """Yield the rows of ``name``, chunk by chunk.  Raises EvaluationError if there are no pictures."""
        return self._store().stream(name)

    def all(self, name: str) -> np.ndarray:
        """Return all rows of ``name``.  Raises EvaluationError if there are no pictures."""
        return self._store().all(name)

    def pool3_statistics(self) -> FeatureStatistics:
        """Return mean and covariance of ``pool3``, as given or of the rows."""
        return self.statistics or FeatureStatistics.of(self.stream(POOL3), self.network)

    def _store(self) -> ChunkStore:
        if self.rows is None:
            raise EvaluationError("there are no reference pictures; statistics alone do not tell their features")
        return self.rows


@dataclass
class Results:
    """Scores by name, and what has to be said about them.

    shares: of scores that are shares, right answers and their count.
    warnings: one line each, for scores that are left out or doubtful.
    """

    scores: dict[str, float] = field(default_factory=dict)
    shares: dict[str, Share] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def merge(self, other: Results) -> Results:
        """Return these and the other's."""
        return Results(self.scores | other.scores, self.shares | other.shares, [*self.warnings, *other.warnings])


@dataclass(frozen=True)
class Metric:
    """One or several scores of samples.

    needs: name of the rows of the samples that it reads.
    compares: name of the rows of the reference that it reads, or STATISTICS, or "" for none.
    compute: from samples and reference to ``Results``; called only where these rows are there.
    """

    name: str
    needs: str
    compares: str
    compute: Callable[[ChunkStore, ReferenceFeatures], Results]


def fid(samples: ChunkStore, reference: ReferenceFeatures) -> Results:
    """Return ``fid``, the Frechet distance of ``pool3``, with a warning for sides of too few pictures."""
    drawn = FeatureStatistics.of(samples.stream(POOL3), reference.network)
    real = reference.pool3_statistics()
    warnings = _few(samples=drawn)
    if reference.statistics is None or real.count != UNKNOWN_COUNT:
        warnings += _few(reference=real)
    return Results({"fid": frechet_distance(drawn, real)}, warnings=warnings)


def _few(**sides: FeatureStatistics) -> list[str]:
    found = (warn_if_few(statistics.count, statistics.width, what) for what, statistics in sides.items())
    return [warning for warning in found if warning]


def _kid(samples: ChunkStore, reference: ReferenceFeatures) -> Results:
    mean, deviation = kid(samples.all(POOL3), reference.all(POOL3), subsets=KID_SUBSETS, subset_size=KID_SUBSET_SIZE)
    return Results({"kid": mean, "kid_std": deviation})


def _inception_score(samples: ChunkStore, reference: ReferenceFeatures) -> Results:
    splits = min(SPLITS, samples.count)
    mean, deviation = inception_score(samples.stream(LOGITS), samples.count, splits=splits)
    return Results({"inception_score": mean, "inception_score_std": deviation})


def _precision_recall(samples: ChunkStore, reference: ReferenceFeatures) -> Results:
    precision, recall = precision_recall(samples.all(POOL3), reference.all(POOL3))
    return Results({"precision": precision, "recall": recall})


def _quality_diversity(samples: ChunkStore, reference: ReferenceFeatures) -> Results:
    scores, drawn, real = {}, samples.all(POOL3), reference.all(POOL3)
    for model in ("gmm", "knn"):
        quality, diversity = quality_diversity(drawn, real, model=model)
        scores |= {f"quality_score_{model}": quality, f"diversity_score_{model}": diversity}
    return Results(scores)


def _clip_score(samples: ChunkStore, reference: ReferenceFeatures) -> Results:
    return Results({"clip_score": finite_mean(samples.all(CLIP_COSINE))})


def _following(samples: ChunkStore, reference: ReferenceFeatures) -> Results:
    """Return the shares of samples that follow their text, and of real pictures that the judge gets right."""
    shares = following(samples.all(RIGHT), samples.all(HELD_OUT))
    for question, right in zip(QUESTIONS, reference.all(RIGHT).T, strict=True):
        if (real := share(right)) is not None:
            shares[f"judge_{question}"] = real
    return Results({name: one.value for name, one in shares.items()}, shares)


def _judge_fid(samples: ChunkStore, reference: ReferenceFeatures) -> Results:
    drawn, real = (FeatureStatistics.of(store.stream(FEATURES)) for store in (samples, reference))
    return Results({"judge_fid": frechet_distance(drawn, real)}, warnings=_few(samples=drawn, reference=real))


def _judge_precision_recall(samples: ChunkStore, reference: ReferenceFeatures) -> Results:
    precision, recall = precision_recall(samples.all(FEATURES), reference.all(FEATURES))
    return Results({"judge_precision": precision, "judge_recall": recall})


METRICS = (
    Metric("fid", POOL3, STATISTICS, fid),
    Metric("kid", POOL3, POOL3, _kid),
    Metric("inception_score", LOGITS, "", _inception_score),
    Metric("precision_recall", POOL3, POOL3, _precision_recall),
    Metric("quality_diversity", POOL3, POOL3, _quality_diversity),
    Metric("clip_score", CLIP_COSINE, "", _clip_score),
    Metric("following", RIGHT, RIGHT, _following),
    Metric("judge_fid", FEATURES, FEATURES, _judge_fid),
    Metric("judge_precision_recall", FEATURES, FEATURES, _judge_precision_recall),
)


def choose(names: Iterable[str | Metric] | None, metrics: Sequence[Metric] = METRICS) -> tuple[Metric, ...]:
    """Return the metrics of these names, all if None; a Metric stands for itself.

    Raises EvaluationError for an unknown name.
    """
    if names is None:
        return tuple(metrics)
    known, chosen = {metric.name: metric for metric in metrics}, []
    for name in names:
        if isinstance(name, str) and name not in known:
            raise EvaluationError(f"unknown metric {name!r}; known: {', '.join(known)}")
        chosen.append(known[name] if isinstance(name, str) else name)
    return tuple(chosen)


def measure(
    samples: ChunkStore,
    reference: ReferenceFeatures,
    *,
    metrics: Sequence[Metric] = METRICS,
    spell: Callable[[str], str] = str,
) -> Results:
    """Return the scores of all ``metrics`` whose rows are there, and a warning for each other one.

    spell: the spelling of a setting's name in warnings.
    """
    results, there = Results(), samples.names()
    for metric in metrics:
        if metric.needs not in there:
            needs = tell(NEEDS[metric.needs], spell) if metric.needs in NEEDS else metric.needs
            results.warnings.append(f"{metric.name} is left out: it needs {needs}")
        elif metric.compares == STATISTICS and not reference.has(STATISTICS):
            results.warnings.append(f"{metric.name} is left out: it needs reference pictures or statistics")
        elif metric.compares and not reference.has(metric.compares):
            results.warnings.append(
                f"{metric.name} is left out: it needs reference pictures; statistics alone do not tell it"
            )
        else:
            results = results.merge(metric.compute(samples, reference))
    return results


def finite_mean(rows: np.ndarray) -> float:
    """Return the mean of (n,) rows, summed in float64.  Raises EvaluationError if one is not finite."""
    rows = np.asarray(rows, np.float64)
    if not np.isfinite(rows).all():
        raise EvaluationError(
            f"{int((~np.isfinite(rows)).sum())} of {len(rows)} scores are not finite; look at those pictures"
        )
    return float(rows.mean())


_INCEPTION = "the FID Inception network ({inception}=pt_inception-2015-12-05-6726825d.pth)"
# Templates of ``errors.tell`` by names of rows: what has to be given for them.
NEEDS = {
    POOL3: _INCEPTION,
    LOGITS: _INCEPTION,
    CLIP_COSINE: "CLIP ({clip}=ViT-B-32.pt) and a model that draws from text",
    RIGHT: "the judge ({judge}=FILE) and a model that draws composed scenes from text",
    FEATURES: "the judge ({judge}=FILE)",
}
