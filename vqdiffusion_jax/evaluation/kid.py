"""Kernel inception distance (Binkowski et al. 2018, "Demystifying MMD GANs", section 4 and appendix D)."""

from __future__ import annotations

import numpy as np

from ..errors import EvaluationError
from .features import check_features


def polynomial_mmd2(a: np.ndarray, b: np.ndarray) -> float:
    """Return the unbiased squared MMD of (m, width) and (n, width) features under the kernel (x . y / width + 1)^3.

    Raises EvaluationError for fewer than two rows, other widths or features that are not finite.
    """
    a = check_features(a, "features of the samples")
    b = check_features(b, "features of the reference", a.shape[1])
    if min(len(a), len(b)) < 2:
        raise EvaluationError(f"KID needs at least 2 pictures on each side; there are {len(a)} and {len(b)}")
    aa, bb, ab = (_kernel(x, y) for x, y in ((a, a), (b, b), (a, b)))
    m, n = len(a), len(b)
    within = (aa.sum() - np.trace(aa)) / (m * (m - 1)) + (bb.sum() - np.trace(bb)) / (n * (n - 1))
    return float(within - 2.0 * ab.mean())


def kid(
    a: np.ndarray, b: np.ndarray, *, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Mean and standard deviation of ``polynomial_mmd2`` over random subsets, drawn without replacement.

    ``subset_size`` is lowered to the smaller set if that has fewer rows.  Raises what ``polynomial_mmd2`` raises.
    """
    a = check_features(a, "features of the samples")
    b = check_features(b, "features of the reference", a.shape[1])
    size = min(subset_size, len(a), len(b))
    rng = np.random.default_rng(seed)
    draws = [(rng.choice(len(a), size, replace=False), rng.choice(len(b), size, replace=False)) for _ in range(subsets)]
    found = [polynomial_mmd2(a[of_a], b[of_b]) for of_a, of_b in draws]
    return float(np.mean(found)), float(np.std(found))


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1.0) ** 3
