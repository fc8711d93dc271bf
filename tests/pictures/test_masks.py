"""Masks of every form are painted where they are light and visible."""

import numpy as np
import pytest
from PIL import Image

from tests.pictures.files import encoded
from vqdiffusion_jax.call.starts import mask_of
from vqdiffusion_jax.errors import SettingError
from vqdiffusion_jax.pictures import fit_mask, open_picture
from vqdiffusion_jax.presets import preset

CODEC = preset("emoji").codec
SIZE = CODEC.image_size
TRUTH = np.zeros((SIZE, SIZE), bool)
TRUTH[:, SIZE // 2 :] = TRUTH[:9] = True
GREY = np.where(TRUTH, 255, 0).astype(np.uint8)
RNG = np.random.default_rng(0)
NOISY = np.clip(GREY.astype(int) + RNG.integers(-3, 4, GREY.shape), 0, 255).astype(np.uint8)
SOFT = np.where(TRUTH, 0.7, 0.3)
WHITE = np.full_like(GREY, 255)
STROKES = np.dstack([WHITE, WHITE, WHITE, GREY])
ON_BLACK = np.dstack([GREY, GREY, GREY, WHITE])
DEEP = GREY.astype(np.uint16) * 257

ARRAYS = {
    "bool": TRUTH,
    "uint8, 0 and 1": TRUTH.astype(np.uint8),
    "uint8, 0 and 255": GREY,
    "uint8 with noise": NOISY,
    "int64, 0 and 1": TRUTH.astype(np.int64),
    "int64, 0 and 255": GREY.astype(np.int64),
    "uint16": DEEP,
    "float, 0 and 1": TRUTH.astype(np.float32),
    "float with noise": NOISY / 255,
    "float with noise beyond": TRUTH + RNG.uniform(-0.03, 0.03, TRUTH.shape),
    "float, soft": SOFT,
    "float16, soft": SOFT.astype(np.float16),
    "a list": TRUTH.astype(int).tolist(),
    "a channel axis": GREY[..., None],
    "a channel axis of floats": SOFT[..., None],
    "RGB": np.dstack([GREY] * 3),
    "RGB, 0 and 1": np.dstack([TRUTH] * 3).astype(np.uint8),
    "RGB of bool": np.dstack([TRUTH] * 3),
    "RGBA of floats": STROKES / 255,
    "RGBA strokes": STROKES,
    "RGBA on black": ON_BLACK,
    "grey and alpha": np.dstack([WHITE, GREY]),
    "a batch of one": GREY[None],
    "a batch of one with a channel axis": GREY[None, ..., None],
}
PICTURES = {
    "1": Image.fromarray(GREY).convert("1"),
    "L": Image.fromarray(GREY),
    "L with noise": Image.fromarray(NOISY),
    "P": Image.fromarray(GREY).convert("P"),
    "RGB": Image.fromarray(GREY).convert("RGB"),
    "CMYK": Image.fromarray(GREY).convert("RGB").convert("CMYK"),
    "LA": Image.fromarray(np.dstack([GREY, WHITE])),
    "LA strokes": Image.fromarray(np.dstack([WHITE, GREY])),
    "RGBA strokes": Image.fromarray(STROKES),
    "RGBA on black": Image.fromarray(ON_BLACK),
    "I;16": Image.fromarray(DEEP),
    "I;16B": Image.fromarray(DEEP.astype(">u2")),
    "I": Image.fromarray(GREY.astype(np.int32)),
    "I, 0 and 1": Image.fromarray(TRUTH.astype(np.int32)),
    "I of 16 bits": Image.fromarray(DEEP.astype(np.int32)),
    "F": Image.fromarray(TRUTH.astype(np.float32)),
    "F, soft": Image.fromarray(SOFT.astype(np.float32)),
}
WRITTEN = {
    "PNG": ("1", "L", "L with noise", "P", "RGB", "LA", "LA strokes", "RGBA strokes", "RGBA on black", "I;16"),
    "TIFF": ("1", "L", "P", "RGB", "CMYK", "LA", "LA strokes", "RGBA strokes", "I;16", "I;16B", "F", "F, soft"),
    "WEBP": ("L", "RGB", "LA", "RGBA strokes", "RGBA on black"),
    "GIF": ("1", "L", "L with noise", "P", "RGB", "RGBA strokes"),
    "JPEG": ("1", "L", "RGB", "CMYK"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(name):
    np.testing.assert_array_equal(mask_of(ARRAYS[name], CODEC, 1), TRUTH[None])


@pytest.mark.parametrize("name", PICTURES)
def test_pil_pictures(name):
    np.testing.assert_array_equal(mask_of(PICTURES[name], CODEC, 1), TRUTH[None])
    np.testing.assert_array_equal(fit_mask(PICTURES[name], SIZE), TRUTH)


@pytest.mark.parametrize("kind, name", [(kind, name) for kind, names in WRITTEN.items() for name in names])
def test_files(name, kind, tmp_path):
    (tmp_path / "mask").write_bytes(encoded(PICTURES[name], kind))
    painted = mask_of(tmp_path / "mask", CODEC, 1)[0]
    assert (painted != TRUTH).mean() <= (0.01 if kind in ("WEBP", "JPEG") else 0)  # which lose something at edges
    np.testing.assert_array_equal(fit_mask(open_picture(tmp_path / "mask", "mask_image"), SIZE), painted)


def test_hidden_colours_are_not_painted():
    hidden = STROKES.copy()
    hidden[..., 0] = 200
    np.testing.assert_array_equal(mask_of(Image.fromarray(hidden), CODEC, 1)[0], TRUTH)
    grey_strokes = np.dstack([WHITE // 3, WHITE // 3, WHITE // 3, GREY])
    assert not mask_of(grey_strokes, CODEC, 1).any()


def test_noise_alone_paints_nothing():
    faint = RNG.integers(0, 4, GREY.shape, dtype=np.uint8)
    for mask in (faint, Image.fromarray(faint), faint / 255):
        assert not mask_of(mask, CODEC, 1).any()


def test_one_mask_a_picture(tmp_path):
    (tmp_path / "mask.png").write_bytes(encoded(GREY, "PNG"))
    several = [TRUTH, ~TRUTH, tmp_path / "mask.png", Image.fromarray(GREY), TRUTH.astype(np.float32)]
    painted = mask_of(several, CODEC, 5)
    np.testing.assert_array_equal(painted, np.stack([TRUTH, ~TRUTH, TRUTH, TRUTH, TRUTH]))
    np.testing.assert_array_equal(mask_of(painted, CODEC, 5), painted)
    np.testing.assert_array_equal(mask_of(painted[..., None].astype(np.uint8), CODEC, 5), painted)


@pytest.mark.parametrize(
    "mask, reason",
    [
        (GREY.astype(float), "from 0 to 255"),
        (TRUTH * 2.0 - 1, "from -1 to 1"),
        (np.where(TRUTH, np.nan, 0.0), "from nan to nan"),
        (np.where(TRUTH, np.inf, 0.0), "from 0 to inf"),
        (TRUTH.astype(int) * 2 - 1, "from -1 to 1"),
        (DEEP.astype(np.int64) * 2, "from 0 to 131070"),
        (np.where(TRUTH, 1j, 0), "complex128"),
        (np.where(TRUTH, "white", "black"), "<U5"),
        (np.dstack([np.where(TRUTH, "white", "black")] * 3), "<U5"),
        (Image.fromarray(TRUTH.astype(np.uint8)), "its values are 0 and 1 of 255"),
        (Image.fromarray(np.where(TRUTH, 300.0, 0).astype(np.float32)), "from 0 to 300"),
        (GREY[:9], "has shape"),
        (Image.fromarray(GREY[:9]), "has shape"),
        ([TRUTH, TRUTH[:9]], "has shape"),
        ([TRUTH, TRUTH], "has 2 masks for 1 pictures"),
        (np.zeros((0, SIZE, SIZE)), "has 0 masks"),
        ([[1, 2], [3]], "mask_image"),
        ([], "has shape"),
        (7, "has shape"),
        (None, "mask_image"),
        ({}, "mask_image"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_mask_is_refused_in_one_line(mask, reason):
    with pytest.raises(SettingError, match=reason) as caught:
        mask_of(mask, CODEC, 1)
    assert "mask_image" in str(caught.value) and "\n" not in str(caught.value)
