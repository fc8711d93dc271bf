import jax.numpy as jnp
import numpy as np
import pytest

from tests.sampling.toy import NOISY, NUM_CODES, forward_matrix
from vqdiffusion_jax.diffusion import make_schedule, q_sample_with_uniforms
from vqdiffusion_jax.sampling import (
    KeyNoise,
    RecordedNoise,
    all_mask_start,
    composite,
    first_timestep_of,
    image_keys,
    inpainting_start,
    noised_start,
    outpaint,
    token_mask,
)


def test_all_mask_start():
    start = all_mask_start(2, 5, 7)
    assert start.shape == (2, 5) and start.dtype == jnp.int32 and (start == 7).all()


def test_strength_counts_as_the_reference_does():
    assert first_timestep_of(0.5, 10) == 4 and first_timestep_of(1.0, 100) == 99 and first_timestep_of(0.1, 10) == 0
    with pytest.raises(ValueError, match="no step"):
        first_timestep_of(0.05, 10)
    for strength in (0.0, 1.1, -1.0):
        with pytest.raises(ValueError, match=r"\(0, 1\]"):
            first_timestep_of(strength, 10)


def test_noised_start_follows_the_forward_process():
    schedule, tokens = make_schedule(NOISY), np.broadcast_to(np.asarray([[1, NUM_CODES]]), (20_000, 2))
    x_t = np.asarray(noised_start(tokens, 6, schedule, KeyNoise(image_keys(0, 0, 20_000))))
    got = np.bincount(x_t[:, 0], minlength=NUM_CODES + 1) / 20_000
    np.testing.assert_allclose(got, forward_matrix(schedule, 6)[1], atol=0.015)
    assert (x_t[:, 1] == NUM_CODES).all()  # [MASK] stays
    with pytest.raises(ValueError, match="timestep 10"):
        noised_start(tokens, 10, schedule, KeyNoise(image_keys(0, 0, 20_000)))


def test_noised_start_replays_recorded_draw_zero():
    schedule = make_schedule(NOISY)
    uniforms = np.random.default_rng(0).random((2, 3, 4, NUM_CODES + 1), np.float32)
    tokens = jnp.asarray(np.random.default_rng(1).integers(0, NUM_CODES, (3, 4)), jnp.int32)
    got = noised_start(tokens, 5, schedule, RecordedNoise(uniforms))
    np.testing.assert_array_equal(
        got, q_sample_with_uniforms(tokens, schedule.marginals()[5], jnp.asarray(uniforms[0]))
    )


def test_one_masked_pixel_masks_its_whole_cell():
    pixels = np.zeros((8, 12), bool)
    pixels[5, 11] = True
    np.testing.assert_array_equal(np.flatnonzero(token_mask(pixels, (2, 3))), [5])
    pixels[0, 3] = True
    np.testing.assert_array_equal(np.flatnonzero(token_mask(pixels.astype(np.uint8) * 255, (2, 3))), [0, 5])
    batch = np.stack([pixels, np.zeros_like(pixels)])
    assert token_mask(batch, (2, 3)).sum(-1).tolist() == [2, 0]
    with pytest.raises(ValueError, match="divide into"):
        token_mask(pixels, (3, 3))
    with pytest.raises(ValueError, match="divide into"):
        token_mask(pixels[0], (2, 3))


def test_inpainting_start():
    start, (mask, values) = inpainting_start(np.asarray([[1, 2], [3, 0]]), np.asarray([True, False]), 4)
    np.testing.assert_array_equal(start, [[4, 2], [4, 0]])
    np.testing.assert_array_equal(mask, [[False, True]] * 2)
    np.testing.assert_array_equal(values, [[1, 2], [3, 0]])


def test_pixels_outside_the_mask_come_back_exactly():
    rng = np.random.default_rng(0)
    original, generated = rng.random((2, 2, 4, 4, 3), np.float32)
    mask = np.zeros((4, 4), np.uint8)
    mask[1:3, 1] = 255
    out = np.asarray(composite(original, generated, mask))
    np.testing.assert_array_equal(out[:, mask == 0], original[:, mask == 0])
    np.testing.assert_array_equal(out[:, mask != 0], generated[:, mask != 0])
    with pytest.raises(ValueError, match="alike"):
        composite(original, generated.astype(np.float64)[:, :3], mask)
    with pytest.raises(ValueError, match="pixel_mask"):
        composite(original, generated, mask[:3])


def test_outpainting_keeps_the_whole_picture_between_the_margins():
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[:, 20:] = 200
    canvas, mask = outpaint(picture, 16, left=0.25, right=0.25, bottom=0.5)
    assert canvas.shape == (16, 16, 3) and canvas.dtype == np.uint8
    kept = np.zeros((16, 16), bool)
    kept[2:6, 4:12] = True  # 8 x 8 pixels are left, and the picture is twice as wide as high
    np.testing.assert_array_equal(mask, ~kept)
    assert (canvas[:, :5] == 0).all() and (canvas[:, 11:] == 200).all()  # its edges are repeated around it


@pytest.mark.parametrize("shape", [(8, 8), (16, 8), (8, 32), (300, 1)])
@pytest.mark.parametrize("margins", [(0.25, 0, 0.25, 0), (0.25, 0, 0, 0), (0, 0.1, 0.3, 0.5)])
def test_outpainting_cuts_nothing_away(shape, margins):
    size, (left, top, right, bottom) = 16, margins
    picture = np.full((*shape, 3), 90, np.uint8)
    picture[[0, -1]] = picture[:, [0, -1]] = 250  # a frame, seen on all four sides
    canvas, mask = outpaint(picture, size, left=left, top=top, right=right, bottom=bottom)
    rows, columns = np.nonzero(~mask)
    y0, y1, x0, x1 = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    assert round(size * left) <= x0 and x1 <= size - round(size * right)
    assert round(size * top) <= y0 and y1 <= size - round(size * bottom)
    assert not mask[y0:y1, x0:x1].any()
    # In its own proportions, to a pixel, and as large as it can be.
    assert abs((y1 - y0) * shape[1] - (x1 - x0) * shape[0]) <= max(shape)
    assert y1 - y0 == size - round(size * top) - round(size * bottom) or x1 - x0 == size - round(size * left) - round(
        size * right
    )
    inside = canvas[y0:y1, x0:x1].astype(int)
    for side in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
        assert side.mean() > 100


def test_margins_that_leave_nothing_are_refused():
    picture = np.zeros((20, 40, 3), np.uint8)
    for margins in ({}, {"left": -0.1}, {"left": 0.5, "right": 0.5}, {"top": 1.0}):
        with pytest.raises(ValueError, match="outpaint is .*margin|outpaint is .*must lie in"):
            outpaint(picture, 16, **margins)
