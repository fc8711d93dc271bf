from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from vqdiffusion_jax.demo.canvas import Canvas, read_upload
from vqdiffusion_jax.demo.limits import Limits

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


def test_strokes_paint_discs_and_the_lines_between_them():
    canvas = Canvas(32)
    canvas.stroke(4.0, 8.0, 2.0)
    assert canvas.mask[7:9, 3:5].all() and not canvas.mask[:, 8:].any()
    canvas.stroke(24.0, 8.0, 2.0)
    assert canvas.mask[7:9, 3:25].all() and not canvas.mask[12:].any()
    canvas.lift()
    canvas.stroke(8.0, 28.0, 2.0)
    assert canvas.mask[27:29, 7:9].all() and not canvas.mask[12:24].any()
    canvas.lift()
    canvas.stroke(8.0, 28.0, 3.0, rub_out=True)
    assert not canvas.mask[12:].any() and canvas.mask[7:9, 3:25].all()
    canvas.erase()
    assert not canvas.mask.any()


def test_what_is_painted_is_seen_and_nothing_else_changes():
    canvas = Canvas(16)
    canvas.put(Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)))
    np.testing.assert_array_equal(canvas.view(), canvas.picture)
    canvas.stroke(4.0, 4.0, 3.0)
    changed = (canvas.view() != canvas.picture).any(-1)
    assert changed.any() and not (changed & ~canvas.mask).any()


def test_extending_keeps_the_whole_picture_and_paints_the_margin():
    canvas = Canvas(16)
    with pytest.raises(ValueError, match="there is no picture to extend"):
        canvas.extend(0.25, 0.0, 0.0, 0.0)
    half = np.zeros((16, 32, 3), np.uint8)
    half[:, 16:] = 255
    canvas.put(Image.fromarray(half))
    canvas.extend(0.25, 0.0, 0.25, 0.0)
    assert canvas.mask[:, :4].all() and canvas.mask[:, 12:].all() and not canvas.mask[:, 4:12].any()
    assert (canvas.picture[:, 4] == 0).all() and (canvas.picture[:, 11] == 255).all()
    canvas.extend(0.0, 0.5, 0.0, 0.0)  # from the picture as it was, not from what it has become
    assert canvas.mask[:8].all() and not canvas.mask[8:].any()
