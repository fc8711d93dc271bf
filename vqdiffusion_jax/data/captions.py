"""Which caption or label an example gets this time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def usable_captions(captions: Sequence[str]) -> list[str]:
    """The captions that say something, stripped and in lower case, as the reference feeds them.  Raises ValueError if none does."""
    kept = [caption.strip().lower() for caption in captions if caption.strip()]
    if not kept:
        raise ValueError("it has no caption")
    return kept


def choose(count: int, drop_rate: float, rng: np.random.Generator | None) -> int | None:
    """Which of ``count`` captions to use, or None to drop it; without ``rng`` (validation) always the first."""
    if rng is None:
        return 0
    choice = int(rng.integers(count))
    return None if rng.random() < drop_rate else choice


def choose_label(label: int, null_label: int, drop_rate: float, rng: np.random.Generator | None) -> int:
    """``label``, or ``null_label`` if it is dropped.  Raises ValueError if it is not below ``null_label``."""
    if not 0 <= label < null_label:
        raise ValueError(f"its label is {label}, outside the model's 0..{null_label - 1}")
    return null_label if choose(1, drop_rate, rng) is None else label
