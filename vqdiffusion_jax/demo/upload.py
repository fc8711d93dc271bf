"""Pictures that visitors upload."""

from __future__ import annotations

from PIL import Image

from ..errors import PictureError
from ..web.uploads import decoded
from .limits import Limits

_MOST_KEPT = 2048  # pixels of a side; a visit keeps its picture, and no model draws as many


def read_upload(data: bytes, limits: Limits) -> Image.Image:
    """Return the picture in an uploaded file, upright, in RGB on white, and scaled to 2048 pixels a side at most.

    Raises ValueError, one line, for a file that is too large or no picture.
    """
    if len(data) > limits.upload_bytes:
        raise ValueError(
            f"the file has {len(data):,} bytes; at most {limits.upload_bytes:,} are taken, so make the picture smaller"
        )
    try:
        picture = decoded(data, most_pixels=limits.upload_pixels)
    except PictureError as error:
        raise ValueError(f"the file cannot be used: {error}") from error
    picture.thumbnail((_MOST_KEPT, _MOST_KEPT), Image.Resampling.BICUBIC)
    return picture
