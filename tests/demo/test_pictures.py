import json
import zipfile
from io import BytesIO

import numpy as np
from PIL import Image

from vqdiffusion_jax.demo.pictures import CELL, archive, token_grid


def test_the_grid_shows_what_is_masked_and_how_sure_it_is():
    masked = np.array([[False, True, False], [False, True, True]])
    confidence = np.array([[0.0, 0.0, 1.0], [0.5, 1.0, 0.4]], np.float32)
    grid = token_grid(masked, confidence)
    assert grid.shape == (2 * CELL, 3 * CELL, 3)
    middle, corner = grid[CELL // 2 :: CELL, CELL // 2 :: CELL], grid[2::CELL, 2::CELL]
    np.testing.assert_array_equal((middle == corner).all(-1), ~masked)  # a masked one is a dot
    assert (middle[0, 0] == middle[0, 1]).all() and (
        middle[0, 2] == middle[1, 1]
    ).all()  # the colour is the confidence's
    assert middle.sum(-1)[0, 0] < middle.sum(-1)[1, 0] < middle.sum(-1)[0, 2]  # and the surer, the brighter


def test_an_archive_holds_all_that_draws_the_picture_again():
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    mask = np.eye(4, dtype=bool)
    recipe = {"prompt": "a café", "image": "image.png", "mask_image": "mask.png"}
    with zipfile.ZipFile(
        BytesIO(archive("000001", picture, recipe, {"image": picture + 1, "mask_image": mask}))
    ) as file:
        assert sorted(file.namelist()) == ["000001.json", "000001.png", "image.png", "mask.png"]
        assert json.loads(file.read("000001.json").decode("utf-8")) == recipe
        np.testing.assert_array_equal(np.asarray(Image.open(file.open("000001.png"))), picture)
        np.testing.assert_array_equal(np.asarray(Image.open(file.open("image.png"))), picture + 1)
        np.testing.assert_array_equal(np.asarray(Image.open(file.open("mask.png"))) >= 128, mask)
