"""Depth: samples of more than 8 bits, scaled to 0..255 by the range that the file states."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ..errors import PictureError

DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")
_BITS, _PHOTOMETRIC, _FORMAT, _LOWEST, _HIGHEST = 258, 262, 339, 340, 341  # tags of TIFF
_WHITE_IS_ZERO, _SIGNED = 0, 2
_OVERSHOOT = 1e-3  # of the range: what rounding in float32 leaves outside
_DARK = 1.5 / 255  # of the range: brighter samples are not all rounded to black


@dataclass(frozen=True)
class Range:
    """The values of black and white.  view: the type of the samples, if Pillow has another.  inverted: low is white."""

    low: float
    high: float
    view: type[np.generic] | None = None
    inverted: bool = False

    def samples(self, strip: Image.Image) -> np.ndarray:
        """Return the samples (height, width) of a part of the picture."""
        values = np.asarray(strip)
        return values if self.view is None else values.view(self.view)

    def eight_bits(self, samples: np.ndarray) -> np.ndarray:
        """Return samples as uint8, black as 0 and white as 255."""
        scaled = (samples.astype(np.float64) - self.low) * (255 / (self.high - self.low))
        grey = np.rint(scaled).clip(0, 255).astype(np.uint8)
        return 255 - grey if self.inverted else grey


def is_deep(picture: Image.Image) -> bool:
    """Return True for a picture whose samples are not 0..255: of DEEP_MODES, or signed ones of 8 bits in TIFF."""
    return picture.mode in DEEP_MODES or picture.mode == "L" and _is_signed(getattr(picture, "tag_v2", {}))


def range_of(picture: Image.Image, strips: Iterable[Image.Image]) -> Range:
    """Return the range of a loaded picture that ``is_deep``: as its file states it, or as its mode implies.

    16 bits have all their values, or those of the bits that a TIFF states, floats 0..1 or what a TIFF states.  Whole
    numbers of no file have 8 or 16 bits, as few as hold them.
    strips: all parts of the picture.
    Raises PictureError if samples are not finite, lie outside the range, or are so dark in it that all would be black.
    """
    tags = getattr(picture, "tag_v2", {})
    told = _stated(picture, tags)
    least, most = _extremes(strips, told)
    if told is None:
        told = Range(0, 255 if most <= 255 else 65535)
    slack = (told.high - told.low) * _OVERSHOOT if picture.mode == "F" else 0
    values = f"its values lie from {least:g} to {most:g}"
    if least < told.low - slack or most > told.high + slack:
        raise PictureError(f"{values}, outside {told.low:g} to {told.high:g}; scale them, or save it with 8 bits")
    if not told.inverted and told.low < most < told.low + _DARK * (told.high - told.low):
        raise PictureError(
            f"{values} of a range up to {told.high:g}, which would be black; scale them, or save it with 8 bits"
        )
    return told


def _stated(picture: Image.Image, tags: Any) -> Range | None:
    inverted = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    if picture.mode == "F":
        low, high = _first(tags.get(_LOWEST), 0.0), _first(tags.get(_HIGHEST), 1.0)
        return Range(low, high, inverted=inverted) if -np.inf < low < high < np.inf else Range(0, 1, inverted=inverted)
    if tags:
        bits = int(_first(tags.get(_BITS), 16 if picture.mode != "I" else 32))
        if _is_signed(tags):
            return Range(0, 2 ** (bits - 1) - 1, view=np.int8 if picture.mode == "L" else None, inverted=inverted)
        return Range(0, 2**bits - 1, view=np.uint32 if picture.mode == "I" else None, inverted=inverted)
    if picture.mode != "I" or picture.format in ("PNG", "PPM"):
        return Range(0, 65535)
    return None


def _is_signed(tags: Any) -> bool:
    return _first(tags.get(_FORMAT), 1) == _SIGNED


def _first(tag: Any, default: float) -> float:
    value = tag[0] if isinstance(tag, tuple) and tag else tag
    return float(value) if isinstance(value, int | float) else default


def _extremes(strips: Iterable[Image.Image], told: Range | None) -> tuple[float, float]:
    least, most = np.inf, -np.inf
    for strip in strips:
        samples = told.samples(strip) if told else np.asarray(strip)
        least, most = min(least, float(samples.min())), max(most, float(samples.max()))
        if not (np.isfinite(least) and np.isfinite(most)) or np.isnan(samples).any():
            raise PictureError("it has samples that are no numbers (NaN or infinite)")
    return least, most
