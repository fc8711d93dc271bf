"""Pictures and masks of a call: opened from files and fitted to a model's square."""

from __future__ import annotations

from os import PathLike, fsdecode, fspath

import numpy as np
from PIL import Image

from ..errors import PictureError, SettingError
from ..user_files import read_bytes
from .decode import MOST_FILE_BYTES, decode, in_rgb
from .masks import painted


def open_picture(path: str | PathLike[str], field: str) -> Image.Image:
    """Return the picture in a file, upright, in RGB of 8 bits, or in RGBA if parts of it are transparent.

    Raises SettingError about ``field``, the setting that names the file, if it cannot be read as a picture.
    """
    try:
        return decode(read_bytes(path, most=MOST_FILE_BYTES), None)
    except (PictureError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        told = f"{{{field}}}={{value}} cannot be read as a picture: {{reason}}"
        raise SettingError(told, value=fsdecode(fspath(path)), reason=reason) from error


def fit_picture(picture: Image.Image, size: int) -> Image.Image:
    """Return the picture's centre square, in RGB on white, resized to size x size.

    Raises PictureError if it cannot be used.
    """
    return _square(in_rgb(picture), size, Image.Resampling.BICUBIC)


def fit_mask(picture: Image.Image, size: int) -> np.ndarray:
    """Return a mask (size, size) bool of the centre square, True where the picture is light and visible.

    Raises PictureError if it cannot be used (see ``painted``).
    """
    mask = Image.fromarray(painted(picture).astype(np.uint8) * 255)
    return np.asarray(_square(mask, size, Image.Resampling.NEAREST)) >= 128


def _square(picture: Image.Image, size: int, resample: Image.Resampling) -> Image.Image:
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.resize((size, size), resample, box=(left, top, left + side, top + side))
