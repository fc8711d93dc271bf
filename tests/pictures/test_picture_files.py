"""Files that are no pictures, damaged, hostile or enormous: one reason each, in bounded memory and without noise."""

import os
import random
import socket
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.pictures.files import CORNERS, GREY, encoded, png
from vqdiffusion_jax.data.records import read_bytes
from vqdiffusion_jax.data.transforms import centre_crop, train_crop
from vqdiffusion_jax.errors import BrokenRecord, PictureError, SettingError
from vqdiffusion_jax.pictures import EXTENSIONS, MOST_PIXELS, UNREAD_EXTENSIONS, decode, open_picture
from vqdiffusion_jax.pictures.formats import refusal

TEXTS = [
    (b"", "it is empty"),
    (b"no picture", "it is no picture; give one of JPEG, PNG, WEBP, GIF"),
    (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%stderr) (w) file (ran) writestring\n",
        "it is PostScript or EPS",
    ),
    (b"\xc5\xd0\xd3\xc6" + bytes(28), "it is EPS, which is not read; save it as PNG or JPEG"),
    (b"%PDF-1.7\n", "it is PDF"),
    (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "it is HEIC"),
    (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "it is HEIC"),
    (b"\0\0\0\x18ftypisom\0\0\0\0isomiso2", "a film"),
    (b"\xff\x0a\0\0", "it is JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "it is JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "it is JPEG 2000"),
    (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "it is SVG"),
    (b"<svg/>", "it is SVG"),
    (b"\xef\xbb\xbf\n<!DOCTYPE html>", "it is a web page, not a picture; download it again"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "it is a pointer of Git LFS, not a picture; run"),
    (b"8BPS\0\1", "it is Photoshop"),
    (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", "it begins as AVIF does but is damaged"),
    (b"II*\0" + b"\xff" * 40, "it begins as TIFF does but is damaged"),
]


@pytest.mark.parametrize("data, reason", TEXTS)
def test_what_is_no_picture_is_told_by_name(data, reason, capfd):
    with pytest.raises(PictureError) as caught:
        decode(data)
    assert str(caught.value).startswith(reason) or reason in str(caught.value)
    assert "\n" not in str(caught.value) and capfd.readouterr().err == ""


def test_avif_that_pillow_cannot_read_is_told(monkeypatch):
    monkeypatch.setattr("vqdiffusion_jax.pictures.formats._reads_avif", lambda: False)
    assert "install pillow>=11.3" in refusal(b"\0\0\0\x18ftypavif\0\0\0\0mif1avif")


def test_extensions_are_lower_case_and_apart():
    assert not {*EXTENSIONS} & {*UNREAD_EXTENSIONS} and ".jfif" in EXTENSIONS and ".avif" in EXTENSIONS
    assert all(ending == ending.lower() and ending[0] == "." for ending in (*EXTENSIONS, *UNREAD_EXTENSIONS))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF"])
def test_every_format_is_read(kind):
    options = (
        {"subsampling": "4:4:4" if kind == "AVIF" else 0, "quality": 95} if kind in ("JPEG", "MPO", "AVIF") else {}
    )
    options |= dict(save_all=True, append_images=[Image.new("RGB", (40, 24))]) if kind == "MPO" else {}
    read = np.asarray(decode(encoded(CORNERS, kind, **options))).astype(int)
    assert np.abs(read - CORNERS).mean() < 6


def many_tiles(count: int) -> bytes:
    """Return the head of a TIFF file of tiles of a pixel."""
    tags = [(256, 3, 1, 16_384), (257, 3, 1, 16_384), (322, 3, 1, 1), (323, 3, 1, 1), (324, 4, count, 100)]
    return b"II*\0\x08\0\0\0" + struct.pack("<H", 5) + b"".join(struct.pack("<HHII", *tag) for tag in tags)


def many_scans(count: int) -> bytes:
    """Return a progressive JPEG file whose last scan comes again and again."""
    whole = encoded(Image.new("L", (1200, 1200)), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    return whole[:last] + whole[last:-2] * count + whole[-2:]


@pytest.mark.parametrize(
    "data, reason",
    [
        (png(60_000, 60_000, 8, 2, b""), "too many pixels"),
        (png(13_000, 13_000, 1, 0, b""), f"it is 13000 x 13000 pixels; at most {MOST_PIXELS:,} in all are read"),
        (png(0, 0, 8, 2, b""), "damaged"),
        (png(8, 8, 8, 0, bytes(72), (b"iCCP", b"x\0\0" + zlib.compress(bytes(9_000_000)))), "too large"),
        (png(8, 8, 8, 0, bytes(72), (b"zTXt", b"x\0\0" + zlib.compress(bytes(9_000_000)))), "too large"),
        (encoded(Image.new("1", (12_000, 12_000)), "TIFF", compression="group4"), "12000 x 12000"),
        (encoded(Image.new("P", (12_000, 12_000)), "GIF"), "12000 x 12000"),
        (many_tiles(2**19), "it is TIFF with more than 262,144 values of a tag"),
        (many_scans(20_000), "it is JPEG of too many scans"),
        (b"P6 65535 65535 255\n", "too many pixels"),
        (b"P4 12000 12000\n", "12000 x 12000"),
    ],
    ids=["RGB", "1 bit", "no size", "profile", "text", "TIFF", "GIF", "tiles", "scans", "PPM", "PBM"],
)
def test_bombs_are_refused_before_they_are_unpacked(data, reason, recwarn):
    with pytest.raises(PictureError, match=reason):
        decode(data)
    assert not recwarn.list


def test_no_more_pixels_than_asked_for():
    assert decode(encoded(CORNERS, "PNG"), most_pixels=24 * 40).size == (40, 24)
    with pytest.raises(PictureError, match="it is 40 x 24 pixels; at most 959 in all are read, so make it smaller"):
        decode(encoded(CORNERS, "PNG"), most_pixels=24 * 40 - 1)


def test_strips_of_a_pixel_are_cut_without_gigabytes():
    for size in ((60_000, 1), (1, 60_000), (3000, 2), (1, 1)):
        picture = decode(encoded(Image.new("RGB", size, (9, 8, 7)), "PNG"))
        assert picture.size == size
        for crop in (centre_crop(picture, 64), train_crop(picture, 64, np.random.default_rng(0))):
            assert crop.shape == (64, 64, 3) and (crop == (9, 8, 7)).all()


KINDS = {
    "PNG": {},
    "JPEG": {},
    "WEBP": {},
    "GIF": {},
    "BMP": {},
    "TIFF": {},
    "PPM": {},
    "AVIF": {},
    "lossless WEBP": dict(lossless=True),
    "packed TIFF": dict(compression="tiff_adobe_deflate"),
    "progressive JPEG": dict(progressive=True, exif=Image.Exif()),
}


@pytest.mark.parametrize("name", KINDS)
def test_damaged_files_are_pictures_or_one_line(name, capfd):
    random.seed(name)
    whole = encoded(np.dstack([GREY, GREY[::-1], GREY.T]), name.split()[-1], **KINDS[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no warning of Pillow's gets out
        for _ in range(150):
            data = bytearray(whole)
            for _ in range(random.choice((1, 1, 4, 20))):
                data[random.randrange(min(len(data), random.choice((64, 10**6))))] = random.randrange(256)
            if random.random() < 0.3:
                del data[random.randrange(len(data)) :]
            try:
                assert decode(bytes(data)).mode == "RGB"
            except PictureError as error:
                assert str(error).isprintable() and len(str(error)) < 300
    assert capfd.readouterr().err == ""


@pytest.fixture
def irregular(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    os.symlink("/dev/zero", tmp_path / "zero.png")
    (tmp_path / "folder.png").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.png"))
        yield tmp_path


@pytest.mark.parametrize(
    "name, reason",
    [
        ("pipe.png", "named pipe"),
        ("zero.png", "device"),
        ("folder.png", "folder"),
        ("socket.png", "socket"),
        ("missing.png", "No such file"),
        ("nul\0.png", "null"),
        ("n" * 300, "too long"),
    ],
)
def test_what_is_no_regular_file_is_refused_at_once(irregular, name, reason):
    for field in ("image", "mask_image"):
        with pytest.raises(SettingError, match=rf"{field}=.* cannot be read as a picture: .*{reason}"):
            open_picture(irregular / name, field)
    with pytest.raises(BrokenRecord, match=reason):
        read_bytes(irregular / name, name)


def test_a_name_that_is_not_utf8_is_told(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff\xfe.png"
    with open(path, "wb") as file:
        file.write(b"<html>")
    with pytest.raises(SettingError, match="a web page"):
        open_picture(os.fsdecode(path), "image")
