"""Texts inside PNG files: chunks that stand beside the pixels and change none of them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from os import PathLike
from typing import BinaryIO

from PIL import PngImagePlugin

from ..errors import PictureError
from ..user_files import open_regular

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MOST_CHUNKS = 200_000
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")


def png_info(texts: Mapping[str, str]) -> PngImagePlugin.PngInfo:
    """Return the texts as ``pnginfo`` of PIL's ``save``: Latin-1 ones in tEXt chunks, all others in iTXt, UTF-8."""
    info = PngImagePlugin.PngInfo()
    for keyword, text in texts.items():
        try:
            text.encode("latin-1")
            info.add_text(keyword, text)
        except UnicodeEncodeError:
            info.add_itxt(keyword, text)
    return info


def read_png_text(path: str | PathLike[str], keyword: str, *, most: int) -> str | None:
    """Return the first text of a PNG file under ``keyword``, or None; no pixel is decoded.

    most: the largest size of the text in bytes.  Larger chunks under other keywords are passed over.
    Raises OSError as ``open_regular`` does, and PictureError for what is no PNG, a damaged one, or too large a text.
    """
    with open_regular(path) as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            raise PictureError("it is no PNG")
        for kind, start, data in _text_chunks(file, most + len(keyword) + 1024):
            if not start.startswith(keyword.encode("latin-1") + b"\0"):
                continue
            if data is None:
                raise PictureError(f"its text {keyword!r} has more than {most} bytes")
            return _text(kind, data, keyword, most)
    return None


def _text_chunks(file: BinaryIO, most: int) -> Iterator[tuple[bytes, bytes, bytes | None]]:
    """Yield kind, beginning and content of every text chunk; the content is None if it has more than ``most`` bytes."""
    for _ in range(_MOST_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            raise PictureError("the PNG ends too early")
        length, kind = struct.unpack(">I4s", head)
        if length > 2**31 - 1:
            raise PictureError("the PNG is damaged: a chunk has an impossible length")
        if kind == b"IEND":
            return
        if kind not in _TEXTS:
            file.seek(length + 4, 1)
            continue
        data = file.read(min(length, most))
        if length > most:
            file.seek(length - most + 4, 1)
            yield kind, data[:100], None
            continue
        checksum = file.read(4)
        if len(data) < length or len(checksum) < 4:
            raise PictureError("the PNG ends too early")
        if zlib.crc32(kind + data) != int.from_bytes(checksum):
            raise PictureError("the PNG is damaged: the checksum of a text is wrong")
        yield kind, data[:100], data
    raise PictureError(f"the PNG has more than {_MOST_CHUNKS} chunks")


def _text(kind: bytes, data: bytes, keyword: str, most: int) -> str:
    """Return the text of a chunk, unpacked if it is compressed."""
    rest = data[len(keyword) + 1 :]
    encoding, compressed = "latin-1", kind == b"zTXt"
    if kind == b"iTXt":
        encoding, compressed = "utf-8", rest[:1] == b"\1"
        rest = rest[2:].split(b"\0", 2)[-1]  # behind a language and the translated keyword
    elif compressed:
        rest = rest[1:]  # behind the method, of which there is one
    if compressed:
        try:
            unpacking = zlib.decompressobj()
            rest = unpacking.decompress(rest, most + 1)
        except zlib.error as error:
            raise PictureError(f"its text {keyword!r} cannot be unpacked: {error}") from error
    if len(rest) > most:
        raise PictureError(f"its text {keyword!r} has more than {most} bytes")
    try:
        return rest.decode(encoding)
    except UnicodeDecodeError as error:
        raise PictureError(f"its text {keyword!r} is no UTF-8") from error
