from io import BytesIO

import pytest
from PIL import Image

from vqdiffusion_jax.demo.limits import Limits
from vqdiffusion_jax.demo.upload import read_upload

LIMITS = Limits(upload_bytes=20_000, upload_pixels=64 * 64)


def png(picture: Image.Image, **options) -> bytes:
    file = BytesIO()
    picture.save(file, format="PNG", **options)
    return file.getvalue()


def test_an_upload_is_upright_and_in_rgb():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side
    picture = read_upload(png(Image.new("L", (40, 20), 7), exif=exif), LIMITS)
    assert (picture.mode, picture.size) == ("RGB", (20, 40))


@pytest.mark.parametrize(
    "data, message",
    [
        (b"x" * 20_001, "the file has 20,001 bytes; at most 20,000"),
        (b"not a picture", "the file cannot be used: it is no picture; give one of JPEG, PNG"),
        (b"", "the file cannot be used: it is empty"),
        (png(Image.new("RGB", (32, 32)))[:60], "the file cannot be used: it cannot be decoded as PNG: "),
        (png(Image.new("1", (4000, 4000))), "it is 4000 x 4000 pixels; at most 4,096 in all"),
        (
            png(Image.new("1", (20_000, 20_000)))[:100],
            "it has too many pixels; at most 4,096",
        ),  # more than Pillow itself would open
    ],
    ids=["bytes", "text", "empty", "cut short", "pixels", "bomb"],
)
def test_a_bad_upload_is_refused_in_one_line(data, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_upload(data, LIMITS)
    assert len(str(caught.value).splitlines()) == 1
