"""Calls of one picture each, and calls that draw several of them at once."""

import jax
import numpy as np
import pytest

from vqdiffusion_jax.call.joint import joint, shared_by, single_pictures
from vqdiffusion_jax.errors import SettingError
from vqdiffusion_jax.sampling.seeds import noise_of
from vqdiffusion_jax.sampling.settings import SamplingSettings


def numbers(noise):
    return np.asarray(jax.random.key_data(noise.keys))


def test_the_pictures_of_a_call_have_the_same_noise_alone():
    settings = SamplingSettings(prompt=["a", "b", "a"], num_images_per_prompt=2, seed=5, first_image=3)
    pictures = list(single_pictures(settings))
    assert [one.prompt for one in pictures] == [("a",), ("a",), ("b",), ("b",), ("a",), ("a",)]
    assert [one.first_image for one in pictures] == [3, 4, 3, 4, 5, 6]
    together = noise_of(5, list("aabbaa"), 3)
    np.testing.assert_array_equal(numbers(joint(pictures).noise), numbers(together))


def test_seeds_and_negative_prompts_go_with_their_pictures():
    settings = SamplingSettings(prompt=["a", "b"], negative_prompt=["x", "y"], seed=[7, 8])
    first, second = single_pictures(settings)
    assert (first.seed, first.negative_prompt) == (7, ("x",)) and (second.seed, second.negative_prompt) == (8, ("y",))
    alike = SamplingSettings(prompt=["a", "a"], seed=[7, 7], first_image=2)
    assert [one.first_image for one in single_pictures(alike)] == [2, 2]  # each seed has numbers of its own
    again = joint([second, first])
    assert again.prompt == ("b", "a") and again.negative_prompt == ("y", "x")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"seed": [1, 2]}, "seed holds 2 seeds for 3 pictures"),
        ({"negative_prompt": ["a", "b"]}, "negative_prompt has 2 entries for 3 prompts"),
    ],
)
def test_numbers_that_do_not_fit_are_told(fields, told):
    with pytest.raises(SettingError, match=told):
        list(single_pictures(SamplingSettings(prompt=["a", "b", "c"], **fields)))


def test_what_may_differ_between_pictures_of_a_batch():
    base = SamplingSettings(prompt="a", negative_prompt="n", seed=1)
    assert shared_by(base) == shared_by(base.changed(prompt="b", negative_prompt="m", seed=2, first_image=3))
    others = ({"guidance_scale": 2.0}, {"strategy": "purity"}, {"top_k": 3}, {"negative_prompt": None})
    assert all(shared_by(base) != shared_by(base.changed(**fields)) for fields in others)
    picture = np.zeros((8, 8, 3), np.uint8)
    start = base.changed(image=picture, strength=0.5)
    assert shared_by(start) == shared_by(base.changed(image=picture + 1, strength=0.5)) != shared_by(base)
    assert isinstance(joint([start, start]).image, np.ndarray)
    assert len(joint([start, base.changed(image=picture + 1, strength=0.5)]).image) == 2
