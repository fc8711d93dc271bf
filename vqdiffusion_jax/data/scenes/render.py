"""A scene to pixels."""

from __future__ import annotations

import numpy as np

from .drawings import Drawings
from .scene import Scene
from .words import CANVAS, COLOURS


def render(scene: Scene, drawings: Drawings) -> np.ndarray:
    """Return the picture, (64, 64, 3) uint8."""
    picture = np.full((CANVAS, CANVAS, 3), COLOURS[scene.background], np.uint8)
    for placed in scene.objects:
        colour, behind = drawings.layers(placed.drawing, placed.size)
        x, y = placed.corner
        part = picture[y : y + len(colour), x : x + len(colour)]
        part[...] = (colour + part * behind + 127) // 255
    return picture
