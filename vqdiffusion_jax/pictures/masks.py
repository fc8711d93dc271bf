"""Masks: one rule for all forms.  Painted is what is lighter than half and visible."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from ..errors import PictureError
from .decode import in_rgb
from .depth import DEEP_MODES
from .orientation import orientation_of_given, upright

_OVERSHOOT = 0.05  # beyond 0..1 in a mask of floats, as resizing and noise leave


def painted(mask: Any) -> np.ndarray:
    """Return where a mask is lighter than half and visible: (..., height, width) bool.

    mask: a PIL picture, or an array (..., height, width) of bool, whole numbers or floats 0..1.  Whole numbers are 0
    and 1, or have 8 or 16 bits, as few as hold them.
    Raises PictureError for samples outside these ranges or that are no numbers, and for a picture whose only values
    are 0 and 1 of 255, as it is black.
    """
    if isinstance(mask, Image.Image):
        return _painted_picture(mask)
    values = np.asarray(mask)
    if values.dtype == np.bool_ or not values.size:
        return values.astype(bool)
    _check_dtype(values)
    least, most = values.min(), values.max()
    told = f"its values lie from {least:g} to {most:g}; a mask has bool, 0 and 1, 0 to 255, or floats from 0 to 1"
    if np.issubdtype(values.dtype, np.floating):
        if not (-_OVERSHOOT <= least and most <= 1 + _OVERSHOOT):  # NaN is in no range
            raise PictureError(told)
        return values > 0.5
    if least < 0 or most > 65535:
        raise PictureError(told)
    return values > (0 if most <= 1 else 127 if most <= 255 else 32767)


def painted_channels(values: np.ndarray) -> np.ndarray:
    """Return ``painted`` of arrays (..., height, width, channels): grey, grey and alpha, RGB, or RGB and alpha."""
    colour, alpha = values[..., : 1 if values.shape[-1] <= 2 else 3], values[..., (1, 3)[values.shape[-1] > 2] :]
    _check_dtype(values)
    if values.dtype == np.bool_:
        light = np.all(colour, axis=-1)
    elif values.shape[-1] <= 2:
        light = painted(colour[..., 0])
    else:
        grey = colour.astype(np.float64) @ (0.299, 0.587, 0.114)
        light = painted(grey if np.issubdtype(values.dtype, np.floating) else np.rint(grey).astype(np.int64))
    return np.logical_and(light, painted(alpha[..., 0])) if alpha.shape[-1] else light


def _check_dtype(values: np.ndarray) -> None:
    if values.dtype != np.bool_ and not (
        np.issubdtype(values.dtype, np.integer) or np.issubdtype(values.dtype, np.floating)
    ):
        raise PictureError(f"it is {values.dtype}; a mask is bool, whole numbers or floats from 0 to 1")


def _painted_picture(picture: Image.Image) -> np.ndarray:
    if picture.format is None and picture.mode in DEEP_MODES:  # made of an array, so that no file states its range
        return painted(np.asarray(upright(picture, orientation_of_given(picture))))
    flat = in_rgb(picture, None)
    light = np.asarray(flat.convert("RGB").convert("L"))
    if 0 < light.max() <= 1:
        raise PictureError("its values are 0 and 1 of 255, so that all of it is black; white is 255")
    visible = np.asarray(flat.getchannel("A")) if flat.mode == "RGBA" else np.full_like(light, 255)
    return np.logical_and(light >= 128, visible >= 128)
