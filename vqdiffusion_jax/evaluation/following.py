"""Shares of pictures that follow their text, for seen and for held-out combinations, with 95 % intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Z95 = 1.959964  # the normal distribution's 97.5 % quantile


@dataclass(frozen=True)
class Share:
    """``right`` of ``count``."""

    right: int
    count: int

    @property
    def value(self) -> float:
        return self.right / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of Wilson 1927, "Probable inference, the law of succession, and statistical inference"."""
        n, p = self.count, self.value
        middle, width = p + Z95**2 / (2 * n), Z95 * math.sqrt(p * (1 - p) / n + Z95**2 / (4 * n**2))
        return max(0.0, (middle - width) / (1 + Z95**2 / n)), min(1.0, (middle + width) / (1 + Z95**2 / n))


def share(right: np.ndarray) -> Share | None:
    """Return the share of 1 among answers (n,): 1, 0, or nan for no question.  None if all are nan."""
    answers = right[~np.isnan(right)]
    return Share(int(answers.sum()), len(answers)) if len(answers) else None


def following(right: np.ndarray, held_out: np.ndarray) -> dict[str, Share]:
    """``concept_seen``, ``concept_held_out`` and so on, of ``JudgeAnswers``' rows, without questions that never arise.

    A scene is seen if nothing of it is held out.  A background is held out if training never shows the concept on it, a
    relation if training never shows the two concepts in it, and a concept if its scene is not seen.

    right: (n, 3) of concept, background, relation; held_out: (n, 3) of style, background, relation.
    """
    seen = ~held_out.any(axis=1)
    parts = {
        "concept_seen": right[seen, 0],
        "concept_held_out": right[~seen, 0],
        "background_seen": right[seen, 1],
        "background_held_out": right[held_out[:, 1], 1],
        "relation_seen": right[seen, 2],
        "relation_held_out": right[held_out[:, 2], 2],
    }
    return {name: found for name, answers in parts.items() if (found := share(answers)) is not None}
