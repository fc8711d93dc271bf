"""Pictures as files, and token grids as pictures, for a browser."""

from __future__ import annotations

import base64
import json
import zipfile
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

CELL = 16  # pixels of a token in the picture of the grid, on each side
_DOT = slice(6, 10)  # the coloured part of a masked token
_SQUARE = slice(1, 15)  # the coloured part of any other; cells are a little apart
_BETWEEN = np.array((70, 74, 82), np.uint8)
# Confidences and their colours, dark to bright; those between are mixed.
_LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
_COLOURS = np.array(((68, 1, 84), (59, 82, 139), (33, 144, 141), (93, 201, 99), (253, 231, 37)))


def token_grid(masked: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Return a picture of the tokens: a square each in the colour of its confidence, a dot for one still [MASK].

    masked: (rows, columns) bool; confidence: (rows, columns) in [0, 1].
    Returns (rows * CELL, columns * CELL, 3) uint8.
    """
    colours = (
        np.stack([np.interp(confidence, _LEVELS, channel) for channel in _COLOURS.T], axis=-1).round().astype(np.uint8)
    )
    square, dot = np.zeros((2, CELL, CELL), bool)
    square[_SQUARE, _SQUARE] = dot[_DOT, _DOT] = True
    coloured = np.where(masked[:, :, None, None], dot, square)[..., None]
    cells = np.where(coloured, colours[:, :, None, None], _BETWEEN)
    return cells.swapaxes(1, 2).reshape(masked.shape[0] * CELL, masked.shape[1] * CELL, 3)


def as_png(picture: np.ndarray) -> bytes:
    """Return a PNG file of a picture, (height, width, 3) uint8, or a mask, (height, width) bool, white if True."""
    file = BytesIO()
    Image.fromarray(picture.astype(np.uint8) * 255 if picture.dtype == bool else picture).save(file, format="PNG")
    return file.getvalue()


def as_url(picture: np.ndarray) -> str:
    """Return a picture, as ``as_png`` takes it, as a data URL."""
    return "data:image/png;base64," + base64.b64encode(as_png(picture)).decode()


def archive(name: str, picture: np.ndarray, recipe: dict[str, Any], start: dict[str, np.ndarray]) -> bytes:
    """Return a zip file of a picture, its recipe, and the pictures that it starts from.

    recipe, start: as ``Job.recipe_of`` and ``Job.start`` give them.
    """
    files = {
        f"{name}.png": as_png(picture),
        f"{name}.json": (json.dumps(recipe, indent=2, ensure_ascii=False) + "\n").encode(),
    }
    files |= {recipe[setting]: as_png(content) for setting, content in start.items()}
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for path, content in files.items():
            file.writestr(path, content)
    return packed.getvalue()
