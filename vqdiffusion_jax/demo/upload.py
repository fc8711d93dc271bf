"""Pictures that visitors upload."""

from __future__ import annotations

from io import BytesIO

from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import one_line
from .limits import Limits

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")


def read_upload(data: bytes, limits: Limits) -> Image.Image:
    """Return the picture in an uploaded file, upright and in RGB.

    Raises ValueError, one line, for a file that is too large or no picture.
    """
    if len(data) > limits.upload_bytes:
        raise ValueError(
            f"the file has {len(data):,} bytes; at most {limits.upload_bytes:,} are taken, so make the picture smaller"
        )
    try:
        picture = Image.open(BytesIO(data), formats=FORMATS)
        width, height = picture.size
        # Only the header has been read so far: a small file may unpack to very many pixels.
        upright = ImageOps.exif_transpose(picture).convert("RGB") if width * height <= limits.upload_pixels else None
    except UnidentifiedImageError as error:
        raise ValueError(f"the file is no picture; give one of {', '.join(FORMATS)}") from error
    except Exception as error:  # Pillow's parsers raise errors of many kinds
        raise ValueError(f"the picture cannot be read: {one_line(error)}") from error
    if upright is None:
        raise ValueError(
            f"the picture is {width} x {height}; at most {limits.upload_pixels:,} pixels are taken, so make it smaller"
        )
    return upright
