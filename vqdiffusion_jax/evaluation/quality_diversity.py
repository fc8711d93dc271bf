"""Quality Score and Diversity Score of GIQA (Gu et al. 2020, "GIQA: generated image quality assessment").

A model of one set's features gives every picture of another set a score; QS is
the mean score of the samples under the reference's model, DS the mean score of
the reference under the samples' model, so that a mode which is never drawn
lowers DS.  Two models, as in that paper: a mixture of Gaussians (GMM-GIQA,
log-likelihood) and nearest neighbours (KNN-GIQA, mean of 1 / squared distance),
both after a principal component analysis that keeps 95% of the variance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import EvaluationError
from .features import check_features
from .gaussian_mixture import fit_mixture, log_likelihood
from .neighbours import nearest

KEPT_VARIANCE = 0.95
COMPONENTS = 7
NEIGHBOURS = 1


@dataclass(frozen=True)
class Projection:
    """Principal components: (rows, width) features to (rows, kept)."""

    mean: np.ndarray
    axes: np.ndarray  # (width, kept)

    @classmethod
    def of(cls, features: np.ndarray, kept_variance: float = KEPT_VARIANCE) -> Projection:
        """Return the fewest components that hold ``kept_variance`` of the variance of ``features``."""
        mean = features.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(features, rowvar=False))
        values, vectors = np.clip(values[::-1], 0.0, None), vectors[:, ::-1]
        if not values.sum() > 0:
            raise EvaluationError(
                "all pictures of a set have the same features; quality and diversity scores need different ones"
            )
        shares = np.cumsum(values) / values.sum()
        return cls(mean, vectors[:, : int(np.searchsorted(shares, kept_variance - 1e-12)) + 1])

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return (features - self.mean) @ self.axes


def gmm_scores(
    pictures: np.ndarray, model_of: np.ndarray, *, components: int = COMPONENTS, seed: int = 0
) -> np.ndarray:
    """Return GMM-GIQA's log-likelihoods (nats) under a mixture fitted to ``model_of``: (rows,) float64."""
    project = Projection.of(model_of)
    mixture = fit_mixture(project(model_of), min(components, len(model_of)), seed=seed)
    return log_likelihood(mixture, project(pictures))


def knn_scores(pictures: np.ndarray, model_of: np.ndarray, *, k: int = NEIGHBOURS) -> np.ndarray:
    """KNN-GIQA: mean of 1 / |x - x_k|^2 over the k nearest rows of ``model_of``; (rows,) float64.

    A picture that is in ``model_of`` itself has an infinite score; its distance counts as 1e-12.
    """
    project = Projection.of(model_of)
    return (1.0 / np.maximum(nearest(project(pictures), project(model_of), k), 1e-12)).mean(axis=1)


def quality_diversity(
    samples: np.ndarray, reference: np.ndarray, *, model: str = "gmm", **options
) -> tuple[float, float]:
    """(QS, DS) of (m, width) sample features against (n, width) reference features.

    model: "gmm" or "knn", with the options of ``gmm_scores`` or ``knn_scores``.
    Raises EvaluationError for another model, fewer than two pictures a side, other widths or features that are not
    finite.
    """
    scores = {"gmm": gmm_scores, "knn": knn_scores}.get(model)
    if scores is None:
        raise EvaluationError(f"model is {model!r}; allowed: gmm, knn")
    samples = check_features(samples, "features of the samples")
    reference = check_features(reference, "features of the reference", samples.shape[1])
    if min(len(samples), len(reference)) < 2:
        raise EvaluationError(
            f"QS and DS need at least 2 pictures on each side; there are {len(samples)} and {len(reference)}"
        )
    return float(scores(samples, reference, **options).mean()), float(scores(reference, samples, **options).mean())
