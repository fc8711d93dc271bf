"""A composition to pixels."""

from __future__ import annotations

import numpy as np

from ..scenes.words import COLOURS
from .composition import Composition
from .layouts import CANVAS
from .library import Library


def render(composition: Composition, library: Library, scale: int = 1) -> np.ndarray:
    """Return the picture, (64 scale, 64 scale, 3) uint8."""
    picture = np.full((CANVAS * scale, CANVAS * scale, 3), COLOURS[composition.background], np.uint8)
    drawn = (thing for thing in composition.things for _ in range(thing.count))
    for thing, cell in zip(drawn, composition.cells, strict=True):
        x, y, side = (scale * number for number in cell)
        colour, behind = library.layers(thing.drawing, side, thing.colour)
        if thing.mirrored:
            colour, behind = colour[:, ::-1], behind[:, ::-1]
        part = picture[y : y + side, x : x + side]
        part[...] = (colour + part * behind + 127) // 255
    return picture
