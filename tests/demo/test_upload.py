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
        (b"not a picture", "the file is no picture; give one of PNG"),
        (b"", "the file is no picture"),
        (png(Image.new("RGB", (32, 32)))[:60], "the picture cannot be read: "),
        (png(Image.new("1", (4000, 4000))), "the picture is 4000 x 4000; at most 4,096 pixels"),
        (png(Image.new("1", (20_000, 20_000)))[:100], "the picture "),  # more than Pillow itself would open
    ],
    ids=["bytes", "text", "empty", "cut short", "pixels", "bomb"],
)
def test_a_bad_upload_is_refused_in_one_line(data, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_upload(data, LIMITS)
    assert len(str(caught.value).splitlines()) == 1
