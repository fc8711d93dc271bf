"""The check that all metrics make of features."""

from __future__ import annotations

import numpy as np

from ..errors import EvaluationError


def check_features(features: np.ndarray, what: str, width: int | None = None) -> np.ndarray:
    """Return ``features`` as (pictures, width) float64; ``what`` names them in messages.

    Raises EvaluationError for another shape, or naming the first row that is not finite.
    """
    features = np.asarray(features)
    if features.ndim != 2 or (width is not None and features.shape[1] != width):
        raise EvaluationError(
            f"{what} have shape {features.shape}; expected (pictures, {width or 'features'}), from the same network"
        )
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise EvaluationError(
            f"{what}: {int((~finite).sum())} of {len(features)} rows are not finite, "
            f"first row {int(np.argmin(finite))}; look at that picture and at the network's weights"
        )
    return features.astype(np.float64)
