"""Improved precision and recall (Kynkaanniemi et al. 2019, section 2)."""

from __future__ import annotations

import numpy as np

from ..errors import EvaluationError
from .features import check_features
from .neighbours import nearest_others, squared_distances

NEIGHBOURHOOD = 3


def precision_recall(samples: np.ndarray, reference: np.ndarray, *, k: int = NEIGHBOURHOOD) -> tuple[float, float]:
    """Return (precision, recall) of (m, width) sample features against (n, width) reference features.

    A set's manifold is the union of balls, one about each row, that reach to its k-th nearest other row.  Precision is
    the share of samples inside the reference's manifold, recall the share of reference rows inside the samples'.
    Raises EvaluationError for k rows or fewer, other widths or features that are not finite.
    """
    samples = check_features(samples, "features of the samples")
    reference = check_features(reference, "features of the reference", samples.shape[1])
    if min(len(samples), len(reference)) <= k:
        raise EvaluationError(
            f"precision and recall need more than k = {k} pictures on each side;"
            f" there are {len(samples)} and {len(reference)}"
        )
    return _share_inside(samples, reference, k), _share_inside(reference, samples, k)


def _share_inside(points: np.ndarray, manifold: np.ndarray, k: int) -> float:
    radii = nearest_others(manifold, k)[:, -1]
    inside = [(rows <= radii).any(axis=1) for _, rows in squared_distances(points, manifold)]
    return float(np.concatenate(inside).mean())
