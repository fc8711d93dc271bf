"""Frechet inception distance (Heusel et al. 2017, "GANs trained by a two time-scale update rule", equation 6)."""

from __future__ import annotations

import numpy as np

from .statistics import FeatureStatistics, check_same_network


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """Return |mu_a - mu_b|^2 + tr(A + B - 2 (A B)^(1/2)), where A and B are the covariances.

    The last trace is the sum of the singular values of A^(1/2) B^(1/2), so that only symmetric roots are taken and a
    singular covariance needs no offset on its diagonal.  Raises EvaluationError for statistics of different networks.
    """
    check_same_network(a, b)
    sigma_a, sigma_b = a.covariance, b.covariance
    cross = np.linalg.svd(_square_root(sigma_a) @ _square_root(sigma_b), compute_uv=False).sum()
    step = a.mean - b.mean
    return float(step @ step + np.trace(sigma_a) + np.trace(sigma_b) - 2.0 * cross)


def _square_root(matrix: np.ndarray) -> np.ndarray:
    """Return the symmetric root of a symmetric matrix; eigenvalues that rounding made negative count as 0."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T
