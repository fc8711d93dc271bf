"""The first frame of an animation, transparent where it covers nothing of its canvas."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from tests.pictures.files import encoded, png
from vqdiffusion_jax.data.transforms import decode
from vqdiffusion_jax.pictures import WHITE, in_rgb

SIZE, BOX = (32, 24), (12, 8, 20, 16)  # of the canvas, and the part that the first frame covers
RED, BLUE = (255, 0, 0), (0, 0, 200)


def webp(has_flag: bool, frame: Image.Image | None = None, background=bytes(4)) -> bytes:
    """Return an animation of one frame at BOX; has_flag: its header says that there is transparency."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)

    def number(value: int) -> bytes:
        return struct.pack("<I", value)[:3]

    frame = frame or Image.new("RGB", (BOX[2] - BOX[0], BOX[3] - BOX[1]), RED)
    still = encoded(frame, "WEBP", lossless=True)
    pixels = still[still.index(b"VP8L") :]
    place = number(BOX[0] // 2) + number(BOX[1] // 2) + number(frame.width - 1) + number(frame.height - 1)
    parts = chunk(b"VP8X", bytes([2 | has_flag << 4, 0, 0, 0]) + number(SIZE[0] - 1) + number(SIZE[1] - 1))
    parts += chunk(b"ANIM", background + bytes(2)) + chunk(b"ANMF", place + number(100) + b"\0" + pixels)
    return b"RIFF" + struct.pack("<I", len(parts) + 4) + b"WEBP" + parts


def gif(palette: bytes, transparent: bool = False) -> bytes:
    """Return an animation of one frame at BOX, all of it the second colour of a palette."""
    whole = encoded(Image.fromarray(np.ones((8, 8), np.uint8), "L"), "GIF")
    place = whole.index(b",\0\0\0\0\x08\0\x08\0")
    pixels = whole[place + 10 :]
    assert not whole[place + 9] & 128  # no palette of its own before the pixels
    control = b"!\xf9\x04" + bytes([transparent, 10, 0, 0, 0])
    frame = b"," + struct.pack("<HHHH", BOX[0], BOX[1], 8, 8) + b"\0"
    return b"GIF89a" + struct.pack("<HH", *SIZE) + b"\xf7\0\0" + palette.ljust(768, b"\0") + control + frame + pixels


def apng() -> bytes:
    """Return an animation whose first frame covers a part alone, which the format forbids and some programs write."""
    rows = (b"\0" + bytes(RED) * 8) * 8
    control = struct.pack(">IIIIIHHBB", 0, 8, 8, BOX[0], BOX[1], 1, 10, 0, 0)
    return png(*SIZE, 8, 2, rows, (b"acTL", struct.pack(">II", 1, 0)), (b"fcTL", control))


def colours(number: int) -> bytes:
    """Return a palette with a colour outside the frame first, and red as the colour ``number``."""
    return bytes((9, 200, 9)) * number + bytes(RED)


def index_of_frame() -> int:
    """Return the palette's number that Pillow gave the pixels of ``gif``."""
    picture = Image.open(io.BytesIO(gif(bytes(768))))
    picture.load()
    return picture.getpixel((BOX[0], BOX[1]))


FILES = {
    "WebP": webp(False),
    "WebP with the flag": webp(True),
    "WebP with a background of its own": webp(False, background=bytes((0, 255, 0, 255))),
    "GIF": gif(colours(index_of_frame())),
    "APNG": apng(),
}


@pytest.mark.parametrize("background", [WHITE, BLUE])
@pytest.mark.parametrize("name", FILES)
def test_what_the_first_frame_does_not_cover_is_background(name, background):
    expected = Image.new("RGB", SIZE, background)
    expected.paste(RED, BOX)
    np.testing.assert_array_equal(np.asarray(decode(FILES[name], background)), np.asarray(expected))


@pytest.mark.parametrize("name", FILES)
def test_it_is_transparent_where_transparency_is_kept(name):
    alpha = np.asarray(decode(FILES[name], None).getchannel("A"))
    expected = np.zeros(SIZE[::-1], np.uint8)
    expected[BOX[1] : BOX[3], BOX[0] : BOX[2]] = 255
    np.testing.assert_array_equal(alpha, expected)


@pytest.mark.parametrize("name", ["GIF", "APNG"])
def test_pil_pictures_that_are_not_loaded_yet(name):
    expected = np.asarray(decode(FILES[name]))
    np.testing.assert_array_equal(np.asarray(in_rgb(Image.open(io.BytesIO(FILES[name])))), expected)


def test_transparent_pixels_of_a_webp_frame_count_without_the_flag():
    frame = Image.new("RGBA", (8, 8), (0, 255, 0, 0))
    frame.paste((*RED, 255), (0, 0, 4, 8))
    read = np.asarray(decode(webp(False, frame)))
    np.testing.assert_array_equal(read[BOX[1], BOX[0] : BOX[2]], [RED] * 4 + [WHITE] * 4)


def test_large_frames_are_cut_strip_by_strip():
    whole = Image.new("P", (1500, 1500), 1)
    whole.putpalette([0, 0, 0, *RED])
    data = bytearray(encoded(whole, "GIF"))
    at = data.index(b",\0\0\0\0" + struct.pack("<HH", 1500, 1500))
    data[at + 1 : at + 5] = struct.pack("<HH", 100, 300)  # Pillow enlarges the canvas to what a frame needs
    read = np.asarray(decode(bytes(data)))
    assert read.shape == (1800, 1600, 3)
    inside = np.zeros(read.shape[:2], bool)
    inside[300:, 100:] = True
    np.testing.assert_array_equal((read == WHITE).all(-1), ~inside)


def test_whole_first_frames_and_other_files_are_as_they_were():
    whole = Image.fromarray(np.arange(32 * 24, dtype=np.uint8).reshape(24, 32))
    for kind in ("PNG", "WEBP", "GIF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(whole, kind, save_all=True, append_images=[Image.new("L", SIZE, 7)], **options)
        np.testing.assert_array_equal(np.asarray(decode(data))[..., 0], np.asarray(whole))
