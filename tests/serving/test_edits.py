"""Files of a request become a picture and a mask."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from vqdiffusion_jax.errors import ApiError
from vqdiffusion_jax.sampling import outpaint
from vqdiffusion_jax.serving.edits import start_of
from vqdiffusion_jax.serving.limits import Limits

SIZE = 8
PICTURE = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
LEFT = np.arange(SIZE)[None].repeat(SIZE, 0) < 3  # where to paint


def file(array):
    made = BytesIO()
    Image.fromarray(array).save(made, "PNG")
    return made.getvalue()


def clear(where, picture=PICTURE):
    return np.dstack([picture, np.where(where, 0, 255).astype(np.uint8)])


def test_a_mask_is_painted_where_it_is_transparent():
    black = np.zeros_like(PICTURE)  # its colour means nothing
    start = start_of({"image": file(PICTURE), "mask": file(clear(LEFT, black))}, {}, SIZE, Limits())
    np.testing.assert_array_equal(start["image"], PICTURE)
    np.testing.assert_array_equal(start["mask_image"], LEFT)


def test_without_a_mask_the_picture_is_painted_where_it_is_transparent():
    start = start_of({"image": file(clear(LEFT))}, {}, SIZE, Limits())
    np.testing.assert_array_equal(start["mask_image"], LEFT)
    np.testing.assert_array_equal(start["image"][~LEFT], PICTURE[~LEFT])


def test_a_picture_alone_starts_with_strength_or_is_extended():
    assert list(start_of({"image": file(PICTURE)}, {"strength": 0.5}, SIZE, Limits())) == ["image"]
    start = start_of({"image": file(PICTURE)}, {"outpaint": [0.25, 0, 0.25, 0]}, SIZE, Limits())
    image, mask = outpaint(Image.fromarray(PICTURE), SIZE, left=0.25, top=0, right=0.25, bottom=0)
    np.testing.assert_array_equal(start["image"], image)
    np.testing.assert_array_equal(start["mask_image"], mask)


OPAQUE, MASK = file(PICTURE), file(clear(LEFT))


@pytest.mark.parametrize(
    ("files", "fields", "param", "told"),
    [
        ({}, {}, "image", "image is missing"),
        ({"image": OPAQUE}, {}, "mask", "what to paint is open"),
        ({"image": b"text"}, {}, "image", "image cannot be used"),
        ({"image": OPAQUE, "mask": b""}, {}, "mask", "mask cannot be used"),
        ({"image": OPAQUE, "mask": OPAQUE}, {}, "mask", "mask has no transparent pixel"),
        ({"image": file(PICTURE[:4]), "mask": MASK}, {}, "mask", "mask is 8 x 8 and image 8 x 4 pixels"),
        ({"image": OPAQUE, "mask": MASK}, {"outpaint": [0, 0, 0, 0.5]}, "mask", "both given"),
        ({"image": OPAQUE}, {"outpaint": [1]}, "outpaint", "four numbers"),
        ({"image": OPAQUE}, {"outpaint": [0.5, 0, 0.5, 0]}, "outpaint", "cannot be used"),
        ({"image": b"x" * 2000}, {}, "image", "2,000 bytes; at most 1,000"),
    ],
)
def test_files_that_do_not_go_together_are_told(files, fields, param, told):
    with pytest.raises(ApiError, match=told) as refusal:
        start_of(files, fields, SIZE, Limits(upload_bytes=1000))
    assert refusal.value.param == param and refusal.value.status == 400
