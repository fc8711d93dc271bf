"""The choice of one caption of an example, and the dropping of captions and labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def usable_captions(captions: Sequence[str]) -> list[str]:
    """Return the captions that are not blank, stripped and in lower case, as in the reference.

    Raises ValueError if there is none.
    """
    kept = [caption.strip().lower() for caption in captions if caption.strip()]
    if not kept:
        raise ValueError("it has no caption")
    return kept


def choose(count: int, drop_rate: float, rng: np.random.Generator | None) -> int | None:
    """Return the number of a random one of ``count`` captions, or None to drop it.

    Without ``rng`` (validation) it is always the first.
    """
    if rng is None:
        return 0
    choice = int(rng.integers(count))
    return None if rng.random() < drop_rate else choice


def choose_label(label: int, null_label: int, drop_rate: float, rng: np.random.Generator | None) -> int:
    """Return ``label``, or ``null_label`` to drop it.  Raises ValueError for a label outside [0, ``null_label``)."""
    if not 0 <= label < null_label:
        raise ValueError(f"its label is {label}, outside the model's 0..{null_label - 1}")
    return null_label if choose(1, drop_rate, rng) is None else label
