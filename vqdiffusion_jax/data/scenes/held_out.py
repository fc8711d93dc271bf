"""Combinations that are never trained on, so that following the text can be measured on what was not seen.

A combination is a concept with a style, a concept with a background, or two
concepts and how they lie (the first left of, or above, the second; "A left of B"
and "B right of A" are one picture, hence one combination).  It is held out if
its hash falls below ``RATE``: a rule that depends on its words alone, not on
the list of concepts, their order or a seed.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator

from .drawings import Drawings
from .words import AXES, COLOURS

RATE = 0.1
# The background of plain captions: every concept is seen on it.
ALWAYS_SEEN = "white"


@functools.lru_cache(maxsize=1 << 17)
def is_held_out(combination: tuple[str, ...]) -> bool:
    """Return whether a combination as in ``Scene.combinations`` is held out."""
    if combination[0] == "background" and combination[2] == ALWAYS_SEEN:
        return False
    digest = hashlib.sha256("|".join(combination).encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56 < RATE


def held_out_of(combinations: Iterable[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Those of the combinations that are held out."""
    return tuple(combination for combination in combinations if is_held_out(combination))


def list_held_out(drawings: Drawings) -> Iterator[tuple[str, ...]]:
    """All that are held out among the concepts, styles and backgrounds of ``drawings``, kind by kind."""
    for concept in drawings.concepts:
        yield from held_out_of(("style", concept, style) for style in drawings.styles_of(concept))
    for concept in drawings.concepts:
        yield from held_out_of(("background", concept, colour) for colour in COLOURS)
    for first in drawings.concepts:
        for second in drawings.concepts:
            if first != second:
                yield from held_out_of(("relation", first, second, axis) for axis in AXES)
