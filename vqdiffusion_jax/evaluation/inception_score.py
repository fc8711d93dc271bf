"""Inception Score (Salimans et al. 2016, "Improved techniques for training GANs", section 4)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..errors import EvaluationError
from .features import check_features

SPLITS = 10


def inception_score(batches: Iterable[np.ndarray], count: int, *, splits: int = SPLITS) -> tuple[float, float]:
    """Mean and standard deviation over ``splits`` consecutive parts of exp(mean KL(p(y | x) || p(y))).

    batches: (n, classes) logits, one array after another; count: how many rows they have together.  Only sums are kept.
    Raises EvaluationError if there are fewer rows than splits, another number than ``count``, or one is not finite.
    """
    if count < splits:
        raise EvaluationError(f"the Inception Score in {splits} parts needs as many pictures; there are {count}")
    edges = [count * i // splits for i in range(splits + 1)]
    entropy, marginal, seen = np.zeros(splits), None, 0
    for batch in batches:
        log_p = _log_softmax(check_features(batch, "logits"))
        marginal = np.zeros((splits, log_p.shape[1])) if marginal is None else marginal
        part = np.searchsorted(edges, np.arange(seen, seen + len(log_p)), side="right") - 1
        if part[-1] >= splits:
            raise EvaluationError(f"there are more than the {count} rows of logits that were announced")
        p = np.exp(log_p)
        np.add.at(entropy, part, (p * log_p).sum(axis=1))
        np.add.at(marginal, part, p)
        seen += len(log_p)
    if marginal is None or seen != count:
        raise EvaluationError(f"there are {seen} rows of logits where {count} were announced")
    sizes = np.diff(edges)
    mean = marginal / sizes[:, None]
    divergence = entropy / sizes - (mean * np.log(np.maximum(mean, 1e-300))).sum(axis=1)
    scores = np.exp(divergence)
    return float(scores.mean()), float(scores.std())


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
