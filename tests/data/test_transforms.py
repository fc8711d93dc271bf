"""Crops against the formulas of the reference, worked out another way."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.data.layouts import encoded, pixels
from vqdiffusion_jax.data.transforms import centre_crop, decode, train_crop
from vqdiffusion_jax.evaluation.clip_score import preprocess


def uniform_bounds(length, side):
    spare = length - side
    low = 3 * spare // 8
    return low, max(low + 1, 5 * spare // 8)


class Recorder:
    """A generator that notes what it is asked and gives back what it was told."""

    def __init__(self, uniforms, integers):
        self.uniforms, self.integers_given, self.asked = list(uniforms), integers, []

    def uniform(self, low, high):
        self.asked.append((low, high))
        return low + self.uniforms.pop(0) * (high - low)

    def integers(self, low, high, size):
        self.asked.append((low, high))
        return np.array(self.integers_given)


@pytest.mark.parametrize("size", [256, 64])
@pytest.mark.parametrize("shape", [(500, 375), (300, 900), (260, 256), (100, 90)])
@pytest.mark.parametrize("u", [0.0, 0.5, 0.999])
def test_train_crop_is_the_reference_formula(size, shape, u):
    picture = Image.fromarray(pixels(3, shape))
    side = min(shape)
    resized_most = max(min(side, {256: 288, 64: 72}[size]), size)
    rng = Recorder([u, u, u], (0, 0))
    got = train_crop(picture, size, rng)

    (x_low, x_high), (y_low, y_high) = uniform_bounds(shape[0], side), uniform_bounds(shape[1], side)
    assert rng.asked[:3] == [(x_low, x_high), (y_low, y_high), (size, resized_most + 1)]
    left, top = int(x_low + u * (x_high - x_low)), int(y_low + u * (y_high - y_low))
    assert left + side <= shape[0] and top + side <= shape[1]
    resized = int(size + u * (resized_most + 1 - size))
    assert rng.asked[3] == (0, resized - size + 1)
    square = Image.fromarray(pixels(3, shape)[top : top + side, left : left + side])
    np.testing.assert_array_equal(
        got, np.asarray(square.resize((resized, resized), Image.Resampling.BICUBIC))[:size, :size]
    )


class Largest:
    """A generator whose uniform draws are as large as they can be, so that 72 x 72 pictures stay so."""

    def __init__(self):
        self.integers = np.random.default_rng(0).integers

    def uniform(self, low, high):
        return high - 1e-6


def test_random_crop_reaches_every_place_and_stays_inside():
    numbered = np.arange(72 * 72, dtype=np.uint32).view(np.uint8).reshape(72, 72, 4)[..., :3]
    rng, places = Largest(), set()
    for _ in range(2000):
        crop = train_crop(Image.fromarray(numbered), 64, rng).astype(int)
        places.add(divmod(crop[0, 0, 0] + 256 * crop[0, 0, 1], 72))
    assert places == {(top, left) for top in range(9) for left in range(9)}


@pytest.mark.parametrize(
    "shape, resized, offset",
    [
        ((500, 375), (341, 256), (42, 0)),
        ((375, 500), (256, 341), (0, 42)),
        ((640, 427), (383, 256), (63, 0)),  # round(63.5) would be 64
        ((427, 640), (256, 383), (0, 63)),
        ((90, 90), (256, 256), (0, 0)),
    ],
)
def test_validation_resizes_the_short_side_and_cuts_the_middle(shape, resized, offset):
    left, top = offset
    expected = np.asarray(Image.fromarray(pixels(1, shape)).resize(resized, Image.Resampling.BICUBIC))[
        top : top + 256, left : left + 256
    ]
    np.testing.assert_array_equal(centre_crop(Image.fromarray(pixels(1, shape)), 256), expected)


def test_the_centre_is_floored_for_data_and_rounded_for_clip():
    """The reference's and CLIP's formulas, on pictures whose short side needs no resizing: a pixel tells its place."""
    differ = 0
    for spare in range(12):
        for shape in ((16, 16 + spare), (16 + spare, 16)):
            rows_and_columns = np.indices(shape).transpose(1, 2, 0)
            picture = np.concatenate([rows_and_columns, np.zeros((*shape, 1))], axis=-1).astype(np.uint8)
            floored = [(side - 16) // 2 for side in shape]
            rounded = [int(round((side - 16) / 2.0)) for side in shape]  # torchvision's CenterCrop, which CLIP uses
            differ += floored != rounded
            assert centre_crop(Image.fromarray(picture), 16)[0, 0, :2].tolist() == floored
            seen = np.rint(preprocess(picture[None], 16)[0] * 255).astype(np.uint8)
            assert seen[0, 0, :2].tolist() == rounded
    assert differ == 6  # a spare of 3, 7 or 11 pixels, on either axis


def test_a_picture_of_the_right_size_is_left_alone():
    picture = pixels(2, (64, 64))
    np.testing.assert_array_equal(train_crop(Image.fromarray(picture), 64, np.random.default_rng(1)), picture)
    np.testing.assert_array_equal(centre_crop(Image.fromarray(picture), 64), picture)


def test_every_mode_becomes_rgb():
    for mode in ("L", "P", "RGBA", "CMYK", "1"):
        file = io.BytesIO()
        Image.fromarray(pixels(0)).convert(mode).save(file, "TIFF" if mode == "CMYK" else "PNG")
        assert decode(file.getvalue()).mode == "RGB"


def test_cut_and_foreign_files_are_refused():
    for data in (encoded(0, "JPEG")[:-200], b"no picture", b""):
        with pytest.raises((OSError, SyntaxError, ValueError)):
            decode(data)
    with pytest.raises(ValueError, match="uint8"):
        decode(np.zeros((4, 4, 3)))
