"""Tokens of compositions, put together from tokens of their drawings: thousands a second, as nothing is encoded."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .composition import Composition, Thing
from .layouts import CANVAS, Cell
from .library import Library
from .render import render

Encode = Callable[[np.ndarray], np.ndarray]  # images (n, 64, 64, 3) uint8 -> tokens (n, rows x columns)


class TokenLibrary:
    """Tokens of single drawings, by background, size and place in the codec's window, kept once made.

    Right for codecs whose encoder sees squares of ``window`` pixels one at a time (``VQGANConfig.encoder_window``): a
    drawing has the tokens that it has alone.  Compositions in which two drawings meet in a square are encoded whole.

    Args:
      encode: the codec.
      window: pixels a side of what the encoder sees; divides 64.
    """

    def __init__(self, library: Library, encode: Encode, *, window: int = 8):
        self._library, self._encode, self._window = library, encode, window
        self._known: dict[tuple, np.ndarray] = {}

    def tokens(self, composition: Composition) -> np.ndarray:
        """(rows x columns,) int32, row by row: those of the rendered picture."""
        spans = [_span(cell, self._window) for cell in composition.cells]
        if _meet(spans):
            return self._encoded(composition).reshape(-1)
        grid = self._drawing(None, (), composition.background).copy()
        size = len(grid) * self._window // CANVAS  # tokens a side of a window
        things = (thing for thing in composition.things for _ in range(thing.count))
        for thing, cell, (rows, columns) in zip(things, composition.cells, spans, strict=True):
            first = Cell(cell.x % self._window, cell.y % self._window, cell.side)
            part = self._drawing(thing, (first,), composition.background)
            top, left = rows.start * size, columns.start * size
            height, width = len(rows) * size, len(columns) * size
            grid[top : top + height, left : left + width] = part[:height, :width]
        return grid.reshape(-1)

    def _drawing(self, thing: Thing | None, cells: tuple[Cell, ...], background: str) -> np.ndarray:
        """Tokens (rows, columns) of a drawing in the top left corner, or of none."""
        key = (thing and (thing.drawing, thing.colour, thing.mirrored), cells, background)
        if key not in self._known:
            things = () if thing is None else (replace(thing, count=1),)
            self._known[key] = self._encoded(Composition(things=things, cells=cells, background=background))
        return self._known[key]

    def _encoded(self, composition: Composition) -> np.ndarray:
        tokens = np.asarray(self._encode(render(composition, self._library)[None]))[0]
        side = math.isqrt(len(tokens))
        return tokens.reshape(side, side)


def _span(cell: Cell, window: int) -> tuple[range, range]:
    """Return the windows that a drawing touches: rows and columns."""
    rows, columns = (range(start // window, -(-(start + cell.side) // window)) for start in (cell.y, cell.x))
    return rows, columns


def _meet(spans: list[tuple[range, range]]) -> bool:
    def overlap(a: range, b: range) -> bool:
        return a.start < b.stop and b.start < a.stop

    pairs = ((one, other) for i, one in enumerate(spans) for other in spans[:i])
    return any(overlap(one[0], other[0]) and overlap(one[1], other[1]) for one, other in pairs)
