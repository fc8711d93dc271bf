"""Texts inside PNG files come back, and damaged or hostile files are refused without reading much."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from vqdiffusion_jax.errors import PictureError
from vqdiffusion_jax.pictures.png_text import SIGNATURE, png_info, read_png_text


def chunk(kind: bytes, data: bytes, *, length: int | None = None, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + data) if checksum is None else checksum
    return struct.pack(">I", len(data) if length is None else length) + kind + data + struct.pack(">I", checksum)


@pytest.fixture
def png(tmp_path):
    def written(*chunks: bytes, end: bytes = chunk(b"IEND", b"")):
        (tmp_path / "picture.png").write_bytes(SIGNATURE + b"".join(chunks) + end)
        return tmp_path / "picture.png"

    return written


@pytest.mark.parametrize("text", ["", "plain", "a caf\u00e9", "\u05ea\u05e4\u05d5\u05d7\n\U0001f34e", "x" * 50_000])
def test_texts_come_back_and_the_pixels_stay(tmp_path, text):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", pnginfo=png_info({"other": "1", "mine": text}))
    assert read_png_text(tmp_path / "a.png", "mine", most=100_000) == text
    assert read_png_text(tmp_path / "a.png", "min", most=100_000) is None
    with Image.open(tmp_path / "a.png") as image:
        assert image.text["mine"] == text
        np.testing.assert_array_equal(np.asarray(image), pixels)


def test_texts_that_other_programs_compressed(png):
    packed = zlib.compress("h\u00e4".encode())
    assert read_png_text(png(chunk(b"iTXt", b"k\0\1\0en\0\0" + packed)), "k", most=100) == "h\u00e4"
    assert read_png_text(png(chunk(b"zTXt", b"k\0\0" + zlib.compress(b"\xe4"))), "k", most=100) == "\u00e4"


@pytest.mark.parametrize(
    ("chunks", "end", "message"),
    [
        ([chunk(b"tEXt", b"k\0" + b"x" * 5000)], None, "more than 100 bytes"),
        ([chunk(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(bytes(10**6)))], None, "more than 100 bytes"),
        ([chunk(b"zTXt", b"k\0\0nothing")], None, "cannot be unpacked"),
        ([chunk(b"iTXt", b"k\0\0\0\0\0\xff")], None, "no UTF-8"),
        ([chunk(b"tEXt", b"k\0x", checksum=1)], None, "checksum"),
        ([chunk(b"tEXt", b"k\0x", length=50)], b"", "ends too early"),
        ([chunk(b"IDAT", b"x", length=2**31)], None, "impossible length"),
        ([], b"", "ends too early"),
    ],
)
def test_damage_is_one_line(png, chunks, end, message):
    path = png(*chunks) if end is None else png(*chunks, end=end)
    with pytest.raises(PictureError, match=message) as error:
        read_png_text(path, "k", most=100)
    assert "\n" not in str(error.value)


def test_large_texts_of_others_are_passed_over(png):
    chunks = chunk(b"tEXt", b"huge\0" + b"x" * 10**6), chunk(b"IDAT", b"x" * 10**6), chunk(b"tEXt", b"k\0mine")
    assert read_png_text(png(*chunks), "k", most=100) == "mine"


def test_other_files_are_no_png(tmp_path):
    (tmp_path / "a").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(PictureError, match="it is no PNG"):
        read_png_text(tmp_path / "a", "k", most=100)
