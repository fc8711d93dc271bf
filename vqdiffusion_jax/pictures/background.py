"""Transparency: straight alpha composed on a background."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageColor

Colour = tuple[int, int, int]  # red, green, blue, 0..255
WHITE: Colour = (255, 255, 255)


def colour_of(value: Any) -> Colour:
    """Return the colour of a name ("white"), a text ("#ffffff", "rgb(255, 255, 255)") or three numbers 0..255.

    Raises ValueError for anything else.
    """
    allowed = "it must be a colour's name, #rrggbb, or three whole numbers from 0 to 255"
    if isinstance(value, str):
        try:
            value = ImageColor.getrgb(value.strip())
        except ValueError:
            raise ValueError(allowed) from None
    good = isinstance(value, Sequence) and not isinstance(value, bytes) and len(value) == 3
    if not good or not all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= 255 for v in value):
        raise ValueError(allowed)
    red, green, blue = value
    return red, green, blue


def composed(picture: Image.Image, background: Colour) -> Image.Image:
    """Return an RGBA picture, whose alpha is straight, as RGB on a background, rounded to the nearest."""
    ground = Image.new("RGB", picture.size, background)
    ground.paste(picture.convert("RGB"), mask=picture.getchannel("A"))
    return ground


def on_white(image: np.ndarray) -> np.ndarray:
    """Return (height, width, 4) uint8 with straight alpha as (height, width, 3) uint8 on white."""
    return np.asarray(composed(Image.fromarray(image), WHITE))
