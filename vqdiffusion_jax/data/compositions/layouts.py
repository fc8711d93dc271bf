"""Places of drawings on the canvas of 64 x 64 pixels.

Corners of drawings of one size lie on a grid of 8 pixels (but the middle one of five tiny ones), so that a codec whose
encoder sees squares of 8 x 8 pixels sees each drawing in one way only.
"""

from __future__ import annotations

from typing import NamedTuple

CANVAS = 64
LARGE, SMALL, TINY = 56, 28, 20


class Cell(NamedTuple):
    """Column and row of a drawing's first pixel, and its side in pixels."""

    x: int
    y: int
    side: int


def _cells(side: int, *corners: tuple[int, int]) -> tuple[Cell, ...]:
    return tuple(Cell(x, y, side) for x, y in corners)


FULL = _cells(LARGE, (4, 4))
PLACES: dict[str, tuple[Cell, ...]] = {
    "centre": _cells(SMALL, (18, 18)),
    "left": _cells(SMALL, (2, 18)),
    "right": _cells(SMALL, (34, 18)),
    "top": _cells(SMALL, (18, 2)),
    "bottom": _cells(SMALL, (18, 34)),
    "top left": _cells(SMALL, (2, 2)),
    "top right": _cells(SMALL, (34, 2)),
    "bottom left": _cells(SMALL, (2, 34)),
    "bottom right": _cells(SMALL, (34, 34)),
}
PAIRS = {"horizontal": PLACES["left"] + PLACES["right"], "vertical": PLACES["top"] + PLACES["bottom"]}
# Each way to lay out so many drawings; the first cells are the first thing's.
GROUPS = {
    2: (PAIRS["horizontal"], PAIRS["vertical"]),
    3: (
        _cells(SMALL, (2, 34), (34, 34), (18, 2)),
        _cells(SMALL, (2, 2), (34, 2), (18, 34)),
    ),
    4: (_cells(SMALL, (2, 2), (34, 2), (2, 34), (34, 34)),),
    5: (_cells(TINY, (2, 2), (42, 2), (2, 42), (42, 42), (22, 22)),),
}
