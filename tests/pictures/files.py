"""Picture files made for tests, by Pillow and by hand."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

CORNERS = np.zeros((24, 40, 3), np.uint8)  # no two of its corners are alike
CORNERS[:12, :20], CORNERS[12:, 20:], CORNERS[:12, 20:] = (255, 0, 0), (0, 0, 255), (0, 255, 0)
RAMP = np.linspace(0, 1, 32 * 32).reshape(32, 32)
GREY = np.rint(RAMP * 255).astype(np.uint8)


def encoded(picture: Image.Image | np.ndarray, kind: str, **options) -> bytes:
    file = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(file, kind, **options)
    return file.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG file of ``rows``, each with its filter byte, and further chunks before them."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)


def exif(orientation: int, order: str = "<", kind: int = 3) -> bytes:
    """Return EXIF data of one tag; kind: TIFF's number of its type, 1, 3 or 4."""
    value = struct.pack(order + {1: "B3x", 3: "H2x", 4: "I"}[kind], orientation)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "IHHHI", 8, 1, 0x0112, kind, 1) + value + struct.pack(order + "I", 0)
