import numpy as np
import pytest
from PIL import Image

from vqdiffusion_jax.demo.start_picture import MASK, PICTURE, SCRATCH, StartPicture


def test_strokes_paint_discs_and_the_lines_between_them():
    edited = StartPicture(32)
    edited.stroke(4.0, 8.0, 2.0)
    assert edited.mask[7:9, 3:5].all() and not edited.mask[:, 8:].any()
    edited.stroke(24.0, 8.0, 2.0)
    assert edited.mask[7:9, 3:25].all() and not edited.mask[12:].any()
    edited.lift()
    edited.stroke(8.0, 28.0, 2.0)
    assert edited.mask[27:29, 7:9].all() and not edited.mask[12:24].any()
    edited.lift()
    edited.stroke(8.0, 28.0, 3.0, erase=True)
    assert not edited.mask[12:].any() and edited.mask[7:9, 3:25].all()
    edited.clear_mask()
    assert not edited.mask.any()


def test_what_is_painted_is_seen_and_nothing_else_changes():
    edited = StartPicture(16)
    edited.put(Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)))
    np.testing.assert_array_equal(edited.preview(), edited.picture)
    edited.stroke(4.0, 4.0, 3.0)
    changed = (edited.preview() != edited.picture).any(-1)
    assert changed.any() and not (changed & ~edited.mask).any()


def test_extending_keeps_the_whole_picture_and_paints_the_margin():
    edited = StartPicture(16)
    with pytest.raises(ValueError, match="there is no picture to extend"):
        edited.extend(0.25, 0.0, 0.0, 0.0)
    half = np.zeros((16, 32, 3), np.uint8)
    half[:, 16:] = 255
    edited.put(Image.fromarray(half))
    edited.extend(0.25, 0.0, 0.25, 0.0)
    kept = np.zeros((16, 16), bool)
    kept[6:10, 4:12] = True  # in its own proportions
    np.testing.assert_array_equal(edited.mask, ~kept)
    assert (edited.picture[6:10, 4] == 0).all() and (edited.picture[6:10, 11] == 255).all()
    edited.extend(0.0, 0.5, 0.0, 0.0)  # from the picture as it was, not from what it has become
    assert edited.mask[:8].all() and not edited.mask[8:].any()


def test_a_start_becomes_fields_of_the_form():
    edited = StartPicture(16)
    assert edited.fields(SCRATCH, 0.5) == {}
    with pytest.raises(ValueError, match="there is no picture to start from"):
        edited.fields(PICTURE, 0.5)
    edited.put(Image.new("RGB", (16, 16)))
    assert edited.fields(PICTURE, 0.5) == {"image": edited.picture, "strength": 0.5}
    with pytest.raises(ValueError, match="nothing is painted"):
        edited.fields(MASK, 0.5)
    edited.stroke(4.0, 4.0, 3.0)
    assert edited.fields(MASK, 0.5) == {"image": edited.picture, "mask_image": edited.mask}


@pytest.mark.parametrize("value", [None, "end", ["mask"], {}, 1])
def test_a_malformed_start_is_refused(value):
    with pytest.raises(ValueError, match="it must be one of scratch, picture, mask"):
        StartPicture(16).fields(value, 0.5)


@pytest.mark.parametrize("value", [None, "4", [4.0], float("nan"), float("inf")])
def test_a_malformed_stroke_is_refused_and_paints_nothing(value):
    edited = StartPicture(16)
    for stroke in ((value, 4.0, 3.0), (4.0, value, 3.0), (4.0, 4.0, value)):
        with pytest.raises(ValueError, match="it must be a finite number"):
            edited.stroke(*stroke)
    edited.stroke(1e300, -1e300, 3.0)
    assert not edited.mask.any()
