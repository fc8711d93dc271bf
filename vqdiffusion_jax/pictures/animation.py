"""The first frame of an animation: where it covers a part of its canvas, the rest is transparent.

Pillow leaves black there, or the first colour of a palette.
"""

from __future__ import annotations

from PIL import Image

from ..user_files import open_regular
from .quiet import silence

Box = tuple[int, int, int, int]  # left, top, right, bottom

_OF_FRAMES = ("GIF", "WEBP")
_FLAGS = 20  # the place of the flags in the header of an extended WebP file
_ANIMATED, _ALPHA = 0x02, 0x10


def moves(path: str) -> bool:
    """Return True for a GIF or WebP file of more than one frame; False for one that cannot be read."""
    silence()
    try:
        with open_regular(path) as file, Image.open(file, formats=_OF_FRAMES) as picture:
            return bool(getattr(picture, "is_animated", False))
    except Exception:  # Pillow's parsers raise whatever they trip over; whoever decodes the file tells the reason
        return False


def told_transparent(data: bytes) -> bytes:
    """Return a WebP animation with the flag without which its alpha is dropped; any other file as it is."""
    if data[:4] + data[8:16] != b"RIFFWEBPVP8X" or len(data) <= _FLAGS:
        return data
    flags = data[_FLAGS]
    if not flags & _ANIMATED or flags & _ALPHA:
        return data
    return b"".join((data[:_FLAGS], bytes([flags | _ALPHA]), memoryview(data)[_FLAGS + 1 :]))


def covered(picture: Image.Image) -> Box | None:
    """Return the part that the first frame of a GIF or PNG covers, before it is loaded; None if it covers all."""
    tiles = getattr(picture, "tile", None)
    if picture.format not in ("GIF", "PNG") or not tiles or getattr(picture, "tell", int)():
        return None
    left, top, right, bottom = map(int, tiles[0][1] or (0, 0, *picture.size))
    box = max(left, 0), max(top, 0), min(right, picture.width), min(bottom, picture.height)
    return None if box == (0, 0, *picture.size) else box


def clear_outside(layer: Image.Image, box: Box, top: int) -> Image.Image:
    """Return rows of a picture from ``top`` on, in RGB or RGBA, as RGBA that is transparent outside ``box``."""
    result = Image.new("RGBA", layer.size, (0, 0, 0, 0))
    part = box[0], max(box[1] - top, 0), box[2], min(box[3] - top, layer.height)
    if part[0] < part[2] and part[1] < part[3]:
        result.paste(layer.crop(part).convert("RGBA"), part[:2])
    return result
