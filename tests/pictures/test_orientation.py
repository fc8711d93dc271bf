"""Pictures that are stored turned are upright, from files and from Python."""

import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.pictures.files import CORNERS, encoded, exif, png, png_chunk
from vqdiffusion_jax.pictures import decode, fit_mask, in_rgb, open_picture, painted

KINDS = {
    "JPEG": dict(quality=95, subsampling=0),
    "PNG": {},
    "WEBP": dict(lossless=True),
    "TIFF": {},
    "AVIF": dict(quality=100, subsampling="4:4:4"),
}
UPRIGHT = {  # as the standard says: which of the stored picture's axes run where
    1: CORNERS,
    2: CORNERS[:, ::-1],
    3: CORNERS[::-1, ::-1],
    4: CORNERS[::-1],
    5: CORNERS.transpose(1, 0, 2),
    6: CORNERS[::-1].transpose(1, 0, 2),
    7: CORNERS[::-1, ::-1].transpose(1, 0, 2),
    8: CORNERS[:, ::-1].transpose(1, 0, 2),
}


def close(picture: Image.Image, expected: np.ndarray) -> bool:
    got = np.asarray(picture).astype(int)
    return got.shape == expected.shape and np.abs(got - expected).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", KINDS)
def test_files_and_pil_pictures_are_upright(kind, orientation, tmp_path):
    tag = Image.Exif()
    tag[0x0112] = orientation
    data = encoded(CORNERS, kind, exif=tag, **KINDS[kind])
    assert close(decode(data), UPRIGHT[orientation])
    (tmp_path / "picture").write_bytes(data)
    opened = open_picture(tmp_path / "picture", "image")
    assert close(opened, UPRIGHT[orientation])
    assert close(in_rgb(opened), UPRIGHT[orientation])  # and stays so
    assert close(in_rgb(Image.open(tmp_path / "picture")), UPRIGHT[orientation])
    turned = ImageOps.exif_transpose(Image.open(tmp_path / "picture"))
    assert close(in_rgb(turned), UPRIGHT[orientation])  # by somebody else before


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [1, 3, 4])
def test_every_form_of_the_tag_is_read(order, kind):
    data = encoded(CORNERS, "PNG", exif=exif(6, order, kind))
    assert close(decode(data), UPRIGHT[6])


def test_a_tag_that_was_set_in_python_counts():
    picture = Image.fromarray(CORNERS)
    picture.getexif()[0x0112] = 8
    assert close(in_rgb(picture), UPRIGHT[8])
    mask = Image.fromarray(CORNERS[..., 0])
    mask.getexif()[0x0112] = 6
    np.testing.assert_array_equal(painted(mask), UPRIGHT[6][..., 0] >= 128)
    assert fit_mask(mask, 24).shape == (24, 24)


@pytest.mark.parametrize("tag", ['tiff:Orientation="6"/>', "tiff:Orientation = '6' />", "><tiff:Orientation> 6<"])
def test_xmp_tells_the_orientation_where_exif_does_not(tag):
    xmp = f"<x:xmpmeta><rdf:Description {tag}</x:xmpmeta>".encode()
    assert close(decode(encoded(CORNERS, "JPEG", xmp=xmp, quality=95, subsampling=0)), UPRIGHT[6])
    assert close(
        decode(encoded(CORNERS, "JPEG", xmp=xmp, exif=b"Exif\0\0" + exif(3), quality=95, subsampling=0)), UPRIGHT[3]
    )


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"II",
        b"no exif at all",
        exif(6)[:13],
        exif(6)[:4] + b"\xff\xff\xff\xff" + exif(6)[8:],
        exif(0),
        exif(9),
        exif(65535),
        b"II*\0\x08\0\0\0\xff\xff" + struct.pack("<HHII", 0x010E, 2, 2**31, 2**31) * 100,  # texts of gigabytes
    ],
    ids=["empty", "short", "text", "cut", "nowhere", "zero", "nine", "huge", "sizes"],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_fails_no_picture(kind, broken, recwarn):
    if kind == "PNG":  # Pillow itself leaves out what is empty
        rows = b"".join(b"\0" + row.tobytes() for row in CORNERS)
        data = png(40, 24, 8, 2, rows, (b"eXIf", broken))
    else:
        data = encoded(CORNERS, kind, exif=b"Exif\0\0" + broken, **KINDS[kind])
    assert close(decode(data), CORNERS)
    assert not recwarn.list


def test_exif_at_the_end_of_a_png_is_read():
    whole = encoded(CORNERS, "PNG")
    end = whole.index(b"IEND") - 4
    assert close(decode(whole[:end] + png_chunk(b"eXIf", exif(6)) + whole[end:]), UPRIGHT[6])
