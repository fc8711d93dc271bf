"""Figures of drawn pictures of the known process, in closed form, with intervals by a paired bootstrap."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np

from ._known_joint_process import Process

RESAMPLES = 500
BROKEN, NOT_ASKED = -1, -2  # outcomes beside the number of the drawing among those of its shape
LOWER_IS_BETTER = ("distance", "variety", "divergence")
METRICS = {
    "whole": "whole",
    "right": "as asked",
    "caption": "p(y given x)",
    "distance": "distance, all",
    "variety": "distance, drawings",
    "divergence": "KL, drawings",
    "entropy": "entropy, drawings",
    "texture": "ln p(texture)",
    "likelihood": "ln p(x given y)",
}
_SHARES = ("whole", "right", "caption", "distance", "variety")

Interval = tuple[float, float, float]


def outcomes(process: Process, tokens: np.ndarray, captions: np.ndarray) -> dict[str, np.ndarray]:
    """Return what every picture is: its outcome, p(y | x), ln p(texture) and ln p(x | y), each (n,)."""
    kind = process.kind_of(tokens)
    asked = (kind >= 0) & process.fits(captions)[np.arange(len(tokens)), kind]
    outcome = np.where(asked, process.kinds[kind, 1], np.where(kind < 0, BROKEN, NOT_ASKED))
    return {
        "outcome": outcome,
        "caption": process.caption_given(tokens, captions),
        "texture": process.log_texture(tokens),
        "likelihood": process.log_likelihood(tokens, captions),
    }


def figures(
    process: Process, found: Mapping[str, np.ndarray], weights: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Return every metric of a row; with ``weights`` (resamples, n), how often each picture counts, of each resample.

    whole: share of pictures with one drawing's cells.  right: share that is also true of the caption.
    caption: mean p(y | x).  distance: total variation to the truth over drawings, broken and not as asked.
    variety, divergence, entropy: total variation, KL(truth to drawn) and entropy over the drawings of the right ones.
    texture: mean ln p(texture).  likelihood: mean ln p(x | y) of the right ones.
    """
    count = len(found["outcome"])
    weights = np.ones((1, count)) if weights is None else weights
    numbers = np.arange(len(process.weights))
    shares = weights @ (found["outcome"][:, None] == numbers) / count
    broken, wrong = (weights @ (found["outcome"] == one) / count for one in (BROKEN, NOT_ASKED))
    right = shares.sum(axis=1)
    # Half a picture more of each, so that a drawing that never came does not make KL infinite.
    among = (shares * count + 0.5) / (right * count + 0.5 * len(numbers))[:, None]
    plain = shares / np.maximum(right, 1.0 / count)[:, None]
    asked = found["outcome"] >= 0
    likelihood = np.where(asked, found["likelihood"], 0.0)
    return {
        "whole": 1.0 - broken,
        "right": right,
        "caption": weights @ found["caption"] / count,
        "distance": 0.5 * (np.abs(shares - process.weights).sum(axis=1) + broken + wrong),
        "variety": 0.5 * np.abs(plain - process.weights).sum(axis=1),
        "divergence": (process.weights * np.log(process.weights / among)).sum(axis=1),
        "entropy": -(among * np.log(among)).sum(axis=1),
        "texture": weights @ found["texture"] / count,
        "likelihood": weights @ likelihood / np.maximum(weights @ asked, 1.0),
    }


@cache
def resamples(count: int) -> np.ndarray:
    """Return how often each of ``count`` pictures is drawn in each resample: the same of every row, so rows pair."""
    rng = np.random.default_rng(5)
    return np.stack([np.bincount(rng.integers(0, count, count), minlength=count) for _ in range(RESAMPLES)]).astype(
        float
    )


def with_intervals(process: Process, found: Mapping[str, np.ndarray]) -> dict[str, Interval]:
    """Return (value, low, high) of every metric, the ends of a 95 % interval."""
    value = figures(process, found)
    drawn = figures(process, found, resamples(len(found["outcome"])))
    return {name: _interval(float(value[name][0]), drawn[name]) for name in METRICS}


def difference(process: Process, one: Mapping, other: Mapping, metric: str) -> Interval:
    """Return by how much ``one`` is better than ``other``, whose pictures have the same captions and noise."""
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    weights = resamples(len(one["outcome"]))
    value = sign * (figures(process, one)[metric] - figures(process, other)[metric])
    drawn = sign * (figures(process, one, weights)[metric] - figures(process, other, weights)[metric])
    return _interval(float(value[0]), drawn)


def told(metric: str, interval: Interval) -> str:
    """Return an interval in words: shares in percent."""
    scale, form = (100.0, "{:.1f}") if metric in _SHARES else (1.0, "{:.2f}")
    value, low, high = (form.format(scale * one) for one in interval)
    return f"{value}{' %' if scale == 100.0 else ''} ({low} to {high})"


def _interval(value: float, drawn: np.ndarray) -> Interval:
    low, high = np.quantile(drawn, (0.025, 0.975)).tolist()
    return value, low, high
