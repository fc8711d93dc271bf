"""Samples of more or fewer than 8 bits are scaled by what the file says, or refused with the reason."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.pictures.files import GREY, RAMP, encoded, png
from vqdiffusion_jax.data.transforms import decode
from vqdiffusion_jax.errors import PictureError
from vqdiffusion_jax.pictures import in_rgb

SHORT = np.rint(RAMP * 65535).astype(np.uint16)
FLOAT = RAMP.astype(np.float32)


def tiff(samples: np.ndarray, bits: int, *, sample_format: int = 1, photometric: int = 1) -> bytes:
    """Return an uncompressed TIFF file of grey samples, which Pillow cannot write in every form."""
    data = samples.tobytes()
    height, width = samples.shape
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height, 279: len(data)}
    tags[339] = sample_format
    entries = b"".join(
        tag.to_bytes(2, "little") + b"\4\0\1\0\0\0" + value.to_bytes(4, "little") for tag, value in sorted(tags.items())
    )
    where = (8 + len(data)).to_bytes(4, "little")
    return b"II*\0" + where + data + len(tags).to_bytes(2, "little") + entries + bytes(4)


def packed_12_bits(values: np.ndarray) -> np.ndarray:
    first, second = values.reshape(-1, 2).T
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], -1)
    return packed.reshape(len(values), -1).astype(np.uint8)


def twelve_bits() -> bytes:
    """Return a TIFF file of 12 bits a sample, two samples in three bytes."""
    packed = packed_12_bits(np.rint(RAMP * 4095).astype(np.int64))
    made = tiff(packed, 12)
    return made.replace((48).to_bytes(4, "little"), (32).to_bytes(4, "little"))  # the width, in pixels


FILES = {
    "PNG of 16 bits": encoded(SHORT, "PNG"),
    "TIFF of 16 bits": encoded(SHORT, "TIFF"),
    "TIFF of 16 bits, the other byte order": encoded(SHORT.astype(">u2"), "TIFF"),
    "TIFF of 16 bits, packed": encoded(SHORT, "TIFF", compression="tiff_lzw"),
    "TIFF of 16 bits, white is zero": tiff(65535 - SHORT, 16, photometric=0),
    "TIFF of 16 signed bits": tiff(np.rint(RAMP * 32767).astype("<i2"), 16, sample_format=2),
    "TIFF of signed bytes": tiff(np.rint(RAMP * 127).astype(np.int8), 8, sample_format=2),
    "TIFF of 12 bits": twelve_bits(),
    "TIFF of 32 bits": tiff(np.rint(RAMP * (2**32 - 1)).astype("<u4"), 32),
    "TIFF of 32 signed bits": tiff(np.rint(RAMP * (2**31 - 1)).astype("<i4"), 32, sample_format=2),
    "TIFF of floats": encoded(FLOAT, "TIFF"),
    "TIFF of floats, white is zero": tiff(1 - FLOAT, 32, sample_format=3, photometric=0),
    "TIFF of floats of a stated range": encoded(FLOAT * 500 - 100, "TIFF", tiffinfo={340: -100.0, 341: 400.0}),
    "PGM of 16 bits": b"P5 32 32 65535\n" + SHORT.astype(">u2").tobytes(),
    "PGM up to 4095": b"P5 32 32 4095\n" + np.rint(RAMP * 4095).astype(">u2").tobytes(),
    "PFM": b"Pf\n32 32\n-1.0\n" + FLOAT[::-1].astype("<f4").tobytes(),
    "8 bits": encoded(GREY, "PNG"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_ramp_is_a_ramp_at_every_depth(name):
    read = np.asarray(decode(FILES[name])).astype(int)
    assert read.shape == (32, 32, 3)
    assert np.abs(read - np.rint(RAMP * 255)[..., None]).max() <= (0 if "8" in name or "of 16 bits" in name else 1)


def test_every_sample_of_8_bits_survives_16():
    samples = np.arange(256, dtype=np.uint16).reshape(16, 16)
    np.testing.assert_array_equal(np.asarray(decode(encoded(samples * 257, "PNG")))[..., 0], samples)


@pytest.mark.parametrize(
    "picture",
    [
        Image.fromarray(SHORT),
        Image.fromarray(SHORT.astype(">u2")),
        Image.fromarray(SHORT.astype(np.int32)),  # whole numbers of 16 bits
        Image.fromarray(GREY.astype(np.int32)),  # and of 8
        Image.fromarray(FLOAT),
        Image.open(io.BytesIO(FILES["TIFF of 12 bits"])),
        SHORT,
        GREY,
    ],
    ids=["I;16", "I;16B", "I of 16 bits", "I of 8 bits", "F", "a TIFF file", "uint16", "uint8"],
)
def test_pil_pictures_and_arrays_are_scaled(picture):
    assert np.abs(np.asarray(in_rgb(picture)).astype(int) - np.rint(RAMP * 255)[..., None]).max() <= 1


def with_one(value: float) -> np.ndarray:
    made = FLOAT.copy()
    made[3, 3] = value
    return made


@pytest.mark.parametrize(
    "data, reason",
    [
        (encoded(FLOAT * 255, "TIFF"), "its values lie from 0 to 255, outside 0 to 1"),
        (encoded(FLOAT * 2 - 1, "TIFF"), "its values lie from -1 to 1, outside 0 to 1"),
        (encoded(with_one(np.nan), "TIFF"), "no numbers"),
        (encoded(with_one(np.inf), "TIFF"), "no numbers"),
        (encoded(FLOAT / 300, "TIFF"), "would be black"),
        (encoded((RAMP * 200).astype(np.uint16), "PNG"), "from 0 to 200 of a range up to 65535, which would be black"),
        (tiff((RAMP * 1000).astype("<i4"), 32, sample_format=2), "would be black"),
        (tiff((RAMP * 1000 - 10).astype("<i2"), 16, sample_format=2), "from -10 to 990, outside 0 to 32767"),
    ],
    ids=["0 to 255", "-1 to 1", "NaN", "infinite", "dark floats", "dark 16 bits", "dark 32 bits", "negative"],
)
def test_what_would_be_a_white_or_black_square_is_refused(data, reason):
    with pytest.raises(PictureError, match=reason):
        decode(data)


def test_a_black_picture_is_black():
    for samples in (np.zeros((4, 4), np.uint16), np.zeros((4, 4), np.float32)):
        assert not np.asarray(decode(encoded(samples, "TIFF"))).any()


def test_fewer_bits_and_more_channels():
    bits = np.asarray(decode(png(8, 1, 1, 0, b"\0\x0f")))
    assert (bits[0, :4] == 0).all() and (bits[0, 4:] == 255).all()
    assert np.asarray(decode(png(4, 1, 2, 0, b"\0\x1b")))[0, :, 0].tolist() == [0, 85, 170, 255]
    deep = np.repeat(SHORT[..., None], 3, -1).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in deep)
    assert np.abs(np.asarray(decode(png(32, 32, 16, 2, rows))).astype(int) - GREY[..., None]).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"])
def test_other_colour_spaces(mode):
    from PIL import ImageCms

    colours = np.stack([GREY, GREY[::-1], GREY.T], -1)
    picture = Image.fromarray(colours)
    if mode == "LAB":
        spaces = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        picture = ImageCms.profileToProfile(picture, *spaces, outputMode="LAB")
        expected = picture.convert("RGB")
    else:
        picture = picture.convert(mode)
        expected = picture.convert("RGB")
    np.testing.assert_array_equal(np.asarray(in_rgb(picture)), np.asarray(expected))
    for kind in ("TIFF", "JPEG"):
        if mode in ("HSV", "P", "LAB", "RGBX", "1") and (kind == "JPEG" or mode == "HSV"):
            continue  # Pillow does not write them
        read = np.asarray(decode(encoded(picture, kind))).astype(int)
        assert np.abs(read - np.asarray(expected)).mean() < 4


def test_an_ordinary_jpeg_is_what_pillow_reads():
    noise = np.random.default_rng(0).integers(0, 256, (97, 131, 3), np.uint8)
    for options in ({}, dict(progressive=True), dict(subsampling=0, quality=100)):
        data = encoded(noise, "JPEG", **options)
        np.testing.assert_array_equal(np.asarray(decode(data)), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
