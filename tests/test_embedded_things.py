"""The embedded model of 369 things, its own settings: what it draws is seen in the pixels."""

import numpy as np
import pytest

from tests.backgrounds import ASKED, background, check_backgrounds
from tests.compiling import optimised
from vqdiffusion_jax import VQDiffusionPipeline
from vqdiffusion_jax.data.compositions.layouts import FULL, GROUPS, Cell

DRAWN = 40  # a colour's distance from the background from which a pixel is part of a drawing
THINGS = ("apple", "cat", "star", "banana", "rocket", "car", "tulip", "fish")


@pytest.fixture(scope="module")
def pipeline():
    with optimised():  # it draws for long: what optimising costs is saved many times over
        yield VQDiffusionPipeline.from_pretrained("emoji")


def draw(pipeline, prompts, **options):
    return pipeline(prompts, **({"seed": 0, "batch_size": 8, "output_type": "uint8"} | options)).images


def drawn(picture: np.ndarray) -> np.ndarray:
    """Return which pixels are not of the background, (height, width) bool."""
    return np.abs(picture.astype(int) - background(picture)).max(axis=-1) > DRAWN


def is_in(cells: tuple[Cell, ...], picture: np.ndarray) -> bool:
    """Return whether every one of the cells holds a drawing, and nothing lies outside."""
    left = drawn(picture)
    for x, y, side in cells:
        place = left[y : y + side, x : x + side]
        if place.mean() < 0.1:
            return False
        place[:] = False
    return left.mean() < 0.01


def count(picture: np.ndarray) -> int:
    """Return how many drawings there are, of those sizes and places that training shows; 0 for something else."""
    found = [number for number, layouts in GROUPS.items() if any(is_in(cells, picture) for cells in layouts)]
    return max(found) if found else int(is_in(FULL, picture))


def test_it_is_quick_and_repeats_itself(pipeline):
    assert pipeline.num_calls() == 20
    first, again = (draw(pipeline, ["two cats"] * 4, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_backgrounds_are_those_asked_for(pipeline):
    prompts = [f"a {thing} on a {colour} background" for thing, colour in zip(THINGS, ASKED, strict=True)]
    check_backgrounds(draw(pipeline, prompts))


def test_things_are_counted(pipeline):
    wanted = [number for _ in THINGS for number in (2, 3, 4, 5)]
    words = {2: "two", 3: "three", 4: "four", 5: "five"}
    plural = {"tulip": "tulips", "fish": "fish"}
    prompts = [f"{words[number]} {plural.get(thing, thing + 's')}" for thing in THINGS for number in words]
    right = [count(picture) == number for picture, number in zip(draw(pipeline, prompts), wanted, strict=True)]
    assert np.mean(right) >= 0.8, [prompt for prompt, fine in zip(prompts, right, strict=True) if not fine]


def test_a_thing_alone_is_large(pipeline):
    right = [count(picture) == 1 for picture in draw(pipeline, [f"a {thing}" for thing in THINGS])]
    assert np.mean(right) >= 0.8, right


def test_colours_are_those_asked_for(pipeline):
    channel = {"red": 0, "green": 1, "blue": 2}
    asked = [(colour, thing) for thing in ("heart", "balloon", "t-shirt", "car") for colour in channel]
    pictures = draw(pipeline, [f"a {colour} {thing}" for colour, thing in asked])
    means = [picture[drawn(picture)].mean(axis=0) for picture in pictures]
    right = [mean.argmax() == channel[colour] for mean, (colour, _) in zip(means, asked, strict=True)]
    assert np.mean(right) >= 0.8, [pair for pair, fine in zip(asked, right, strict=True) if not fine]


def test_two_things_lie_as_asked(pipeline):
    """A red thing and a blue one: which half is redder."""
    beside = ["a red heart to the left of a blue t-shirt", "a blue balloon to the left of a red car"]
    one_above = ["a red apple above a blue car", "a blue fish above a red heart", "a red balloon over a blue t-shirt"]
    one_below = ["a blue car below a red heart", "a red fish under a blue balloon"]
    right = {}
    for prompt, picture in zip(asked := [*beside, *one_above, *one_below], draw(pipeline, asked), strict=True):
        first, second = (np.s_[:, :32], np.s_[:, 32:]) if prompt in beside else (np.s_[:32], np.s_[32:])
        if prompt in one_below:
            first, second = second, first
        redness = [(picture[half][drawn(picture)[half]].astype(int) @ [1, 0, -1]).mean() for half in (first, second)]
        right[prompt] = (redness[0] > redness[1]) == prompt.startswith("a red")
    assert np.mean(list(right.values())) >= 0.85, right


def test_the_empty_prompt_and_unknown_words_draw_too(pipeline):
    prompts = ["", "qwxyz vrrpt", "ein roter apfel", "赤いりんご", "!!!", "very " * 100]
    with pytest.warns(UserWarning, match="was not taught"):
        pictures = draw(pipeline, prompts)
    assert all(picture.std() > 10 for picture in pictures)
