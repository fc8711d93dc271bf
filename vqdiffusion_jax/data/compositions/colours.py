"""Colours of drawings: their dominant hue and its word, the same drawing in another colour, visibility on a background.

Lightness L, chroma C and hue h (in turns) are those of Oklab (Ottosson 2020), in which equal steps look equally large.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

# Lightness, chroma and hue (degrees) of the colours that a drawing can be given.
_TARGETS = {
    "red": (0.60, 0.22, 27),
    "orange": (0.73, 0.17, 57),
    "yellow": (0.87, 0.17, 97),
    "green": (0.65, 0.18, 145),
    "blue": (0.58, 0.19, 258),
    "purple": (0.53, 0.20, 305),
    "pink": (0.77, 0.15, 355),
}
HUES = tuple(_TARGETS)
WORDS = (*HUES, "brown", "black", "white", "grey")  # of a drawing's palette
_COLOURED = 0.05  # chroma from which a pixel counts as coloured
_NEAR, _FAR = 40 / 360, 75 / 360  # hue distances within which a pixel moves with the dominant hue, fully and at all
_VISIBLE = 0.16  # Oklab distance from the background
_TO_LMS = np.array([[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
                    [0.0883024619, 0.2817188376, 0.6299787005]])  # fmt: skip
_TO_LAB = np.array([[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
                    [0.0259040371, 0.7827717662, -0.8086757660]])  # fmt: skip
_FROM_LAB, _FROM_LMS = np.linalg.inv(_TO_LAB), np.linalg.inv(_TO_LMS)


@dataclass(frozen=True)
class Palette:
    """The dominant colour of a drawing.

    word: its name, or "" where no single colour stands out.
    can_change: whether nearly all that is coloured shares the dominant hue, which can then be turned to another one.
    """

    lightness: float
    chroma: float
    hue: float
    word: str
    can_change: bool


def to_oklab(rgb: np.ndarray) -> np.ndarray:
    """sRGB (..., 3) in 0..255 -> Oklab (..., 3)."""
    value = rgb / 255.0
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _TO_LMS.T) @ _TO_LAB.T


def from_oklab(lab: np.ndarray) -> np.ndarray:
    """Oklab (..., 3) -> sRGB (..., 3) in 0..255, clipped to what sRGB can show."""
    linear = np.clip((lab @ _FROM_LAB.T) ** 3 @ _FROM_LMS.T, 0.0, 1.0)
    return 255.0 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def palette_of(rgba: np.ndarray) -> Palette:
    """Return the palette of a drawing (height, width, 4) uint8."""
    lab = to_oklab(rgba[..., :3].astype(np.float64))
    alpha = rgba[..., 3] / 255.0
    chroma, hue = np.hypot(lab[..., 1], lab[..., 2]), np.arctan2(lab[..., 2], lab[..., 1]) / (2 * np.pi) % 1.0
    weight = alpha * np.where(chroma > _COLOURED, chroma, 0.0)
    coloured = float((alpha * (chroma > _COLOURED)).sum() / max(alpha.sum(), 1e-9))
    lightness = float((lab[..., 0] * alpha).sum() / max(alpha.sum(), 1e-9))
    if coloured < 0.25:
        word = "" if coloured > 0.1 else "black" if lightness < 0.42 else "white" if lightness > 0.85 else "grey"
        return Palette(lightness, 0.0, 0.0, word, False)
    histogram = np.bincount((hue * 72).astype(int).ravel() % 72, weight.ravel(), 72)
    window = np.sum([np.roll(histogram, shift) for shift in range(-4, 5)], axis=0)
    centre = (int(window.argmax()) + 0.5) / 72
    distance = _turn(hue - centre)
    near = weight * (np.abs(distance) < _NEAR)
    share = float(near.sum() / weight.sum())
    hue0 = float((centre + (near * distance).sum() / near.sum()) % 1.0)
    lightness, chroma0 = (float((near * values).sum() / near.sum()) for values in (lab[..., 0], chroma))
    return Palette(
        lightness,
        chroma0,
        hue0,
        _word(lightness, chroma0, hue0 * 360) if share > 0.6 and coloured > 0.4 else "",
        share > 0.75 and coloured > 0.45,
    )


def recoloured(rgba: np.ndarray, palette: Palette, colour: str) -> np.ndarray:
    """Return the drawing (height, width, 4) uint8 with its dominant hue turned to ``colour``, one of HUES."""
    lightness, chroma, degrees = _TARGETS[colour]
    lab = to_oklab(rgba[..., :3].astype(np.float64))
    old_chroma, hue = np.hypot(lab[..., 1], lab[..., 2]), np.arctan2(lab[..., 2], lab[..., 1]) / (2 * np.pi)
    distance = np.abs(_turn(hue - palette.hue))
    moves = np.clip(old_chroma / _COLOURED, 0, 1) * np.clip((_FAR - distance) / (_FAR - _NEAR), 0, 1)
    hue = 2 * np.pi * (hue + moves * _turn(degrees / 360 - palette.hue))
    new_chroma = old_chroma * (1 + moves * (np.clip(chroma / palette.chroma, 0.7, 1.6) - 1))
    moved = np.stack(
        [
            np.clip(lab[..., 0] + 0.8 * moves * (lightness - palette.lightness), 0, 1),
            new_chroma * np.cos(hue),
            new_chroma * np.sin(hue),
        ],
        axis=-1,
    )
    return np.concatenate([from_oklab(moved).round().astype(np.uint8), rgba[..., 3:]], axis=-1)


def visible_share(rgba: np.ndarray, background: tuple[int, int, int]) -> float:
    """Share of a drawing (height, width, 4) that differs from a background in plain sight."""
    alpha = rgba[..., 3] / 255.0
    distance = np.linalg.norm(to_oklab(rgba[..., :3].astype(float)) - to_oklab(np.array(background, float)), axis=-1)
    return float((alpha * (distance > _VISIBLE)).sum() / max(alpha.sum(), 1e-9))


def _turn(difference: Any) -> Any:
    """Return a difference of hues in [-0.5, 0.5)."""
    return (difference + 0.5) % 1.0 - 0.5


def _word(lightness: float, chroma: float, degrees: float) -> str:
    if 25 <= degrees <= 95 and (lightness < 0.62 and chroma < 0.15):
        return "brown"

    def distance(name: str) -> float:
        target_lightness, _, target = _TARGETS[name]
        return abs(_turn((degrees - target) / 360)) * 360 + 60 * abs(lightness - target_lightness)

    return min(HUES, key=distance)
