"""Diversity of pictures, for instance of one text: their mean distance."""

from __future__ import annotations

import numpy as np

from ..errors import EvaluationError
from .features import check_features


def mean_pairwise_distance(features: np.ndarray) -> float:
    """Return the mean Euclidean distance of two different rows of features (pictures, width).

    Raises EvaluationError for fewer than two.
    """
    features = check_features(features, "features")
    if len(features) < 2:
        raise EvaluationError(f"a distance needs at least 2 pictures; there are {len(features)}")
    first, second = np.triu_indices(len(features), k=1)
    return float(np.linalg.norm(features[first] - features[second], axis=1).mean())
