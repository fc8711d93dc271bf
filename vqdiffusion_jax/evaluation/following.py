"""Shares of pictures that follow their text, on combinations that training shows and on held-out ones, with their uncertainty."""

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
    """Of answers (n,), 1, 0 or nan for a question that does not arise; None if none arises."""
    answers = right[~np.isnan(right)]
    return Share(int(answers.sum()), len(answers)) if len(answers) else None


def following(right: np.ndarray, held_out: np.ndarray) -> dict[str, Share]:
    """``concept_seen``, ``concept_held_out`` and so on, of ``JudgeAnswers``' rows, without questions that never arise.

    Seen are scenes of which nothing is held out.  Held out are, of the background, those whose concept is never shown on it, of the
    relation, those whose two concepts never lie so, and of the concept, all that are not seen.

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
