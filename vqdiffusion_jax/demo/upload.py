"""Pictures that visitors upload."""

from __future__ import annotations

from PIL import Image

from ..errors import PictureError
from ..pictures import decode
from .limits import Limits


def read_upload(data: bytes, limits: Limits) -> Image.Image:
    """Return the picture in an uploaded file, upright, and in RGB on white.

    Raises ValueError, one line, for a file that is too large or no picture.
    """
    if len(data) > limits.upload_bytes:
        raise ValueError(
            f"the file has {len(data):,} bytes; at most {limits.upload_bytes:,} are taken, so make the picture smaller"
        )
    try:
        return decode(data, most_pixels=limits.upload_pixels)
    except PictureError as error:
        raise ValueError(f"the file cannot be used: {error}") from error
