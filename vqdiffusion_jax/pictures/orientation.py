"""Orientation: pictures that a camera stored turned or mirrored, made upright."""

from __future__ import annotations

import re
from typing import Any

from PIL import Image

from .tiff_tags import first_directory

_ORIENTATION = 0x0112  # the tag of TIFF and EXIF
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(picture: Image.Image, orientation: int) -> Image.Image:
    """Return the picture turned as an EXIF orientation 1..8 says, without metadata; itself for any other number."""
    turn = _TURNS.get(orientation)
    if turn is None:
        return picture
    turned = picture.transpose(turn)
    turned.info = {}  # what is read again must not be turned again
    return turned


def orientation_of_file(picture: Image.Image) -> int:
    """Return the EXIF orientation, 1..8, of a picture that was read from a file and loaded; 1 if none can be told.

    Only the one tag is read, so that no other part of broken or hostile EXIF data matters.
    """
    if (tags := getattr(picture, "tag_v2", None)) is not None:
        return _checked(tags.get(_ORIENTATION)) or 1  # newer Pillow turns TIFF files as it loads them, and drops it
    exif = picture.info.get("exif")
    if exif is None and (profile := picture.info.get("Raw profile type exif")):  # ImageMagick's, in PNG
        try:
            exif = bytes.fromhex("".join(str(profile).split("\n")[3:]))
        except ValueError:
            exif = None
    found = _tag_of(exif) if isinstance(exif, bytes) else None
    return found or _orientation_of_xmp(picture) or 1


def orientation_of_given(picture: Image.Image) -> int:
    """Return the EXIF orientation, 1..8, of a PIL picture that was given in Python; 1 if none can be told."""
    try:
        picture.load()  # Pillow turns TIFF files as it loads them, and PNG files may have EXIF data at their end
        return _checked(picture.getexif().get(_ORIENTATION)) or 1
    except Exception:  # broken EXIF data fails no picture; a picture that cannot be loaded is told by whoever reads it
        return 1


def _tag_of(exif: bytes) -> int | None:
    """Return the orientation in the first directory of EXIF data."""
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    return next((_checked(entry.value) for entry in first_directory(exif) if entry.tag == _ORIENTATION), None)


def _orientation_of_xmp(picture: Image.Image) -> int | None:
    xmp = picture.info.get("XML:com.adobe.xmp") or picture.info.get("xmp") or ""
    if not xmp:
        return None
    text = xmp.decode("latin-1") if isinstance(xmp, bytes) else str(xmp)
    match = re.search(r"""tiff:Orientation\s*(?:=\s*["']|>)\s*([0-9])""", text)
    return _checked(int(match[1])) if match else None


def _checked(value: Any) -> int | None:
    return value if isinstance(value, int) and 1 <= value <= 8 else None
