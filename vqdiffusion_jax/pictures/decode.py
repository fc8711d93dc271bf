"""Pictures decoded: the one place where bytes, PIL pictures and arrays become upright pictures of 8 bits."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

import numpy as np
from PIL import Image

from ..errors import PictureError, one_line
from .animation import Box, clear_outside, covered, told_transparent
from .background import WHITE, Colour, composed
from .depth import Range, is_deep, range_of
from .formats import name_of_format, readable_formats, refusal
from .orientation import orientation_of_file, orientation_of_given, upright
from .quiet import silence
from .tiff_tags import first_directory, is_thumbnail, with_whole_page_first

MOST_FILE_BYTES = 2**28
MOST_PIXELS = 2**27  # of a file: 134 million
_MOST_MEMORY = 640 * 2**20  # bytes while a picture is decoded
_KEPT_PIXELS = 2**26  # a larger picture is halved, in its decoder where that can be done
_STRIP_PIXELS = 2**20
_MOST_TIFF_VALUES = 2**18  # of a tag, for instance offsets of tiles, which Pillow holds as Python objects
_TEXT_OR_BYTES = (1, 2, 6, 7)  # types of TIFF, which Pillow holds as bytes
_MOST_SCANNED = 2**33  # pixels times scans of a progressive JPEG, each of which goes over the whole picture
_BYTES_OF_MODE = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}  # all others take 4
_BYTES_OF_DECODER = {"WEBP": 12, "AVIF": 12, "TIFF": 4}  # a pixel, beside the picture itself


def decode(data: bytes, background: Colour | None = WHITE, *, most_pixels: int = MOST_PIXELS) -> Image.Image:
    """Return the picture in a file's bytes: upright, in RGB of 8 bits, composed on ``background``.

    Of an animation the first frame, transparent where it covers nothing; of TIFF the first page that is no thumbnail.
    Samples of more bits are scaled (see ``depth``).  A picture of more than 2**26 pixels has half its width and height.
    background: None keeps transparency, in a picture of mode RGBA.
    Raises PictureError, with the reason, for any other file, and for one of more than ``most_pixels``.
    """
    if len(data) > MOST_FILE_BYTES:
        raise PictureError(f"it has {len(data):,} bytes; at most {MOST_FILE_BYTES:,} are read, so make it smaller")
    silence()
    try:
        picture, factor = _opened(with_whole_page_first(told_transparent(data)), most_pixels)
        box = covered(picture)
        picture.load()
        flat = _in_eight_bits(picture, background, factor, box)
        orientation = orientation_of_file(picture)
        del picture
        return upright(flat, orientation)
    except PictureError:
        raise
    except MemoryError as error:
        raise PictureError("there is not enough memory to decode it") from error
    except Exception as error:  # Pillow's parsers raise whatever they trip over
        name = name_of_format(data[:1024]) or "a picture"
        raise PictureError(f"it cannot be decoded as {name}: {one_line(error)}") from error


def in_rgb(picture: Image.Image | np.ndarray, background: Colour | None = WHITE) -> Image.Image:
    """Return a PIL picture or an array that was given in Python as ``decode`` returns a file's.

    picture: an array is (height, width), or has 1 (grey), 2 (grey, alpha), 3 or 4 (RGB, alpha) channels, of uint8,
    uint16 or bool.
    Raises PictureError, with the reason, if it cannot be used.
    """
    if isinstance(picture, np.ndarray):
        return _of_array(picture, background)
    silence()
    try:
        box = covered(picture)
        orientation = orientation_of_given(picture)
        picture.load()
        if not all(picture.size):
            raise PictureError(f"it is {picture.width} x {picture.height} pixels")
        return upright(_in_eight_bits(picture, background, 1, box), orientation)
    except PictureError:
        raise
    except MemoryError as error:
        raise PictureError("there is not enough memory to decode it") from error
    except Exception as error:
        raise PictureError(f"it cannot be read: {one_line(error)}") from error


def _of_array(image: np.ndarray, background: Colour | None) -> Image.Image:
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.dtype not in (np.uint8, np.uint16, np.bool_) or image.ndim not in (2, 3) or channels not in (1, 2, 3, 4):
        raise PictureError(f"its pixels are {image.dtype} {image.shape}; they must be uint8 (height, width, 3)")
    if not image.size:
        raise PictureError(f"it is {image.shape[1]} x {image.shape[0]} pixels")
    if image.dtype == np.uint16:
        image = np.rint(image / 257).astype(np.uint8)
    elif image.dtype == np.bool_:
        image = image.astype(np.uint8) * 255
    if channels <= 2:
        image = image.reshape(*image.shape[:2], channels)[..., [0, 0, 0, 1][: channels + 2]]
    made = Image.fromarray(np.ascontiguousarray(image))
    return composed(made, background) if made.mode == "RGBA" and background is not None else made


def _opened(data: bytes, most_pixels: int) -> tuple[Image.Image, int]:
    """Return the picture with its header read, and the factor by which it is to be reduced once it is loaded."""
    if any(entry.count > _MOST_TIFF_VALUES and entry.kind not in _TEXT_OR_BYTES for entry in first_directory(data)):
        raise PictureError(f"it is TIFF with more than {_MOST_TIFF_VALUES:,} values of a tag; save it in larger tiles")
    if is_thumbnail(data):
        raise PictureError("it is TIFF whose pages are all thumbnails; save the whole picture, as its first page")
    try:
        picture = Image.open(BytesIO(data), formats=readable_formats())
    except Image.UnidentifiedImageError as error:
        raise PictureError(refusal(data[:1024])) from error
    except Image.DecompressionBombError as error:
        raise PictureError(f"it has too many pixels; at most {most_pixels:,} are read, so make it smaller") from error
    width, height = picture.size
    if width * height > most_pixels:
        raise PictureError(
            f"it is {width} x {height} pixels; at most {most_pixels:,} in all are read, so make it smaller"
        )
    if picture.info.get("progressive") and data.count(b"\xff\xda") * width * height > _MOST_SCANNED:
        raise PictureError("it is JPEG of too many scans; save it anew")
    factor = 1
    while width * height > _KEPT_PIXELS * factor**2:
        factor *= 2
    in_memory = _BYTES_OF_DECODER.get(str(picture.format), 0) + _bytes_of_scans(picture)
    if factor > 1 and picture.format in ("JPEG", "MPO"):
        picture.draft(None, (width // factor, height // factor))  # pyright: ignore[reportArgumentType]  # mode: as is
        factor = 1
    shrunk = picture.width * picture.height / (width * height)
    of_result = 0 if _is_plain(picture, covered(picture)) else 4 / factor**2
    in_memory += shrunk * (_BYTES_OF_MODE.get(picture.mode, 4) + of_result)
    if in_memory * width * height > _MOST_MEMORY:
        raise PictureError(
            f"it is {width} x {height} pixels, which as {picture.format} take more than {_MOST_MEMORY >> 20} MiB "
            "of memory; make it smaller"
        )
    _mend_transparency(picture)
    return picture, factor


def _bytes_of_scans(picture: Image.Image) -> float:
    """Return the bytes a pixel of the coefficients that a progressive JPEG keeps of all its components."""
    if not picture.info.get("progressive"):
        return 0.0
    layers = getattr(picture, "layer", [])
    samplings = [h * v for _, h, v, *_ in layers] or [1]
    return 2 * sum(samplings) / max(samplings)


def _mend_transparency(picture: Image.Image) -> None:
    """Bring the transparent colour of a PNG file to the depth to which Pillow brings its pixels."""
    transparent = picture.info.get("transparency")
    tiles = getattr(picture, "tile", None)
    if transparent is None or picture.format != "PNG" or not tiles:
        return
    raw = tiles[0][3]
    raw = raw[0] if isinstance(raw, tuple) else raw
    if raw in ("L;2", "L;4") and isinstance(transparent, int):
        picture.info["transparency"] = min(transparent * (85 if raw == "L;2" else 17), 255)
    elif raw == "RGB;16B" and isinstance(transparent, tuple):
        picture.info["transparency"] = tuple(value >> 8 for value in transparent)


def _is_plain(picture: Image.Image, box: Box | None) -> bool:
    return picture.mode == "RGB" and "transparency" not in picture.info and box is None


def _in_eight_bits(picture: Image.Image, background: Colour | None, factor: int, box: Box | None) -> Image.Image:
    """Return a loaded picture in RGB of 8 bits, reduced by ``factor``, or in RGBA if ``background`` is None.

    It is made strip by strip, so that no second large copy is needed.
    box: the part outside of which all is transparent.
    """
    if factor == 1 and _is_plain(picture, box):
        return picture
    deep = range_of(picture, (strip for _, strip in _strips(picture, 1))) if is_deep(picture) else None
    size = (-(-picture.width // factor), -(-picture.height // factor))
    result = None
    for top, strip in _strips(picture, factor):
        made = _layer(strip) if deep is None else _deep_layer(strip, deep)
        if box is not None:
            made = clear_outside(made, box, top)
        if factor > 1:
            made = made.reduce(factor)
        if made.mode == "RGBA" and background is not None:
            made = composed(made, background)
        if made.size == size:
            return made
        if result is None:
            result = Image.new(made.mode, size)
        result.paste(made, (0, top // factor))
    assert result is not None
    return result


def _strips(picture: Image.Image, factor: int) -> Iterator[tuple[int, Image.Image]]:
    """Yield (top, part) of all parts of a loaded picture, of whole multiples of ``factor`` rows but for the last."""
    rows = max(_STRIP_PIXELS // picture.width // factor, 1) * factor
    for top in range(0, picture.height, rows):
        yield top, picture.crop((0, top, picture.width, min(top + rows, picture.height)))


def _layer(strip: Image.Image) -> Image.Image:
    """Return a picture of 8 bits in RGBA if it has transparency, else in RGB."""
    if not strip.has_transparency_data:
        return strip.convert("RGB")
    if strip.mode in ("La", "RGBa"):  # alpha is premultiplied
        strip = strip.convert("LA" if strip.mode == "La" else "RGBA")
    strip = strip.convert("RGBA")
    strip.info = {}
    return strip


def _deep_layer(strip: Image.Image, deep: Range) -> Image.Image:
    """Return a grey picture of more bits as ``_layer`` does."""
    samples, transparent = deep.samples(strip), strip.info.get("transparency")
    grey = Image.fromarray(deep.eight_bits(samples))
    if not isinstance(transparent, int):
        return grey.convert("RGB")
    grey.putalpha(Image.fromarray(np.where(samples == transparent, 0, 255).astype(np.uint8)))
    return grey.convert("RGBA")
