"""Pictures from files: opened upright, cut to the centre square and resized."""

from __future__ import annotations

from os import PathLike, fspath

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .errors import SettingError


def open_picture(path: str | PathLike[str], field: str) -> Image.Image:
    """Return the picture at ``path``, upright by its EXIF orientation.

    Raises SettingError about ``field``, the setting that names the file, if it cannot be read as a picture.
    """
    try:
        picture = Image.open(fspath(path))
        return ImageOps.exif_transpose(picture) or picture
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        found = "it is no picture" if isinstance(error, UnidentifiedImageError) else error
        reason = getattr(error, "strerror", None) or found
        told = f"{{{field}}}={{value}} cannot be read as a picture: {{reason}}"
        raise SettingError(told, value=path, reason=reason) from error


def fit_picture(picture: Image.Image, size: int) -> Image.Image:
    """Return the picture's centre square, in RGB, resized to size x size."""
    return _square(picture.convert("RGB"), size, Image.Resampling.BICUBIC)


def fit_mask(picture: Image.Image, size: int) -> np.ndarray:
    """Return a mask (size, size) bool of the centre square, True where the picture is at least half bright."""
    return np.asarray(_square(picture.convert("L"), size, Image.Resampling.NEAREST)) >= 128


def _square(picture: Image.Image, size: int, resample: Image.Resampling) -> Image.Image:
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.resize((size, size), resample, box=(left, top, left + side, top + side))
