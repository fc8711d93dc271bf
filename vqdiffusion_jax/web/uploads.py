"""Pictures that strangers send: decoded one at a time, so that the memory of a server is bounded."""

from __future__ import annotations

import threading

from PIL import Image

from ..pictures import WHITE, Colour, decode

_ONE = threading.Lock()


def decoded(data: bytes, *, most_pixels: int, background: Colour | None = WHITE) -> Image.Image:
    """Return the picture in a file's bytes as ``pictures.decode`` does, after those that other threads decode.

    Raises PictureError for what is no picture, and for one of more than ``most_pixels``.
    """
    with _ONE:
        return decode(data, background, most_pixels=most_pixels)
