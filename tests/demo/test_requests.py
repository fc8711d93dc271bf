from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.config import SamplingDefaults
from vqdiffusion_jax.demo.limits import Limits
from vqdiffusion_jax.demo.requests import MASK, PICTURE, default_form, read_form
from vqdiffusion_jax.sampling import STRATEGIES

LIMITS = Limits(num_images=3, prompt_length=20)
SIZE = 16
PICTURE_GIVEN = {"start": PICTURE, "picture": np.zeros((SIZE, SIZE, 3), np.uint8)}
MASK_GIVEN = PICTURE_GIVEN | {"start": MASK, "mask": np.eye(SIZE, dtype=bool)}


def read(kind, **filled_in):
    pipeline = VQDiffusionPipeline(
        SimpleNamespace(config=preset(f"tiny_{kind}"))
    )  # without weights, which no form needs
    return read_form(replace(default_form(pipeline.config), **filled_in), pipeline, LIMITS, {"checkpoint": "somewhere"})


def test_the_form_begins_with_the_models_own_settings():
    config = replace(preset("tiny_text"), sampling=SamplingDefaults(guidance_scale=2.5, truncation_rate=0.9))
    form = default_form(config)
    assert (form.steps, form.guidance_scale, form.truncation_rate) == (10, 2.5, 0.9)


def test_a_form_becomes_arguments_and_a_recipe():
    order = read(
        "text", prompt=" a  red apple\n", seed=7.0, num_images=2, steps=5, guidance_scale=3, truncation_rate=0.9
    )
    assert order.arguments == {
        "prompt": "a red apple",
        "class_labels": None,
        "guidance_scale": 3.0,
        "truncation_rate": 0.9,
        "num_inference_steps": 5,
        "seed": 7,
    }
    assert (order.count, order.calls, order.every) == (2, 5, 1)
    recipe = order.recipe_of(1)
    assert recipe.pop("version")
    assert recipe == {
        "checkpoint": "somewhere",
        "prompt": "a red apple",
        "seed": 7,
        "strategy": "posterior",
        "steps": 5,
        "guidance_scale": 3.0,
        "truncation_rate": 0.9,
        "batch_size": 1,
        "num_images": 1,
        "first_image": 1,
    }
    assert order.caption == "a red apple, seed 7, posterior"


def test_each_kind_of_model_is_asked_for_what_it_takes():
    assert read("class", class_label=3, prompt="ignored").recipe["class_label"] == 3
    order = read("unconditional", guidance_scale=5.0)
    assert "prompt" not in order.recipe and order.recipe["guidance_scale"] == 1.0


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_comes_near_the_steps_asked_for(strategy):
    order = read("text", prompt="a", strategy=strategy, steps=5)
    assert order.recipe["strategy"] == strategy
    assert order.calls == 16 if strategy == "entropy_bound" else abs(order.calls - 5) <= 1  # at most one call a token


def test_a_picture_given_is_noised_or_kept_where_it_is_not_painted():
    order = read("text", prompt="a", **PICTURE_GIVEN, strength=0.5)
    assert order.calls == 5  # of the ten asked for, those below the noise level
    assert (order.recipe["image"], order.recipe["strength"], order.recipe["steps"]) == ("image.png", 0.5, 5)
    order = read("text", prompt="a", **MASK_GIVEN, strategy="purity")
    assert (order.recipe["image"], order.recipe["mask"]) == ("image.png", "mask.png") and "strength" not in order.recipe
    assert order.arguments["mask_image"].sum() == SIZE


@pytest.mark.parametrize(
    "filled_in, message",
    [
        ({"prompt": "  "}, "prompt is empty; say what to draw"),
        ({"prompt": None}, "prompt is empty"),
        ({"prompt": "a" * 21}, "prompt has 21 characters; give at most 20"),
        ({"seed": -1}, "seed is -1; give a whole number from 0 to 4294967295"),
        ({"seed": 1e300}, r"seed is 1e\+300; give a whole number"),
        ({"seed": None}, "seed is empty"),
        ({"seed": "7"}, "seed is '7'"),
        ({"num_images": 1_000_000}, "images is 1000000; give a whole number from 1 to 3"),
        ({"num_images": 1.5}, "images is 1.5"),
        ({"num_images": True}, "images is True"),
        ({"steps": 0}, "steps is 0; give a whole number from 1 to 10"),
        ({"steps": float("nan")}, "steps is nan"),
        ({"guidance_scale": 1e9}, "guidance is 1000000000; give a number from 0 to 30"),
        ({"truncation_rate": 0.0}, "truncation is 0; give a number from 0.01 to 1"),
        ({"strategy": "best"}, "strategy is 'best'; allowed: posterior, "),
        ({"start": "end"}, "start is 'end'; allowed: scratch, picture, mask"),
        ({"start": PICTURE}, "there is no picture to start from"),
        (PICTURE_GIVEN | {"strength": 0.0}, "strength is 0; give a number from 0.01 to 1"),
        (PICTURE_GIVEN | {"strength": 0.05}, "leaves no step"),
        (PICTURE_GIVEN | {"strategy": "purity"}, "strategy is purity; image to image goes with posterior"),
        (MASK_GIVEN | {"mask": np.zeros((SIZE, SIZE), bool)}, "nothing is painted"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(filled_in, message):
    with pytest.raises(ValueError, match=message) as caught:
        read("text", **{"prompt": "a"} | filled_in)
    assert len(str(caught.value).splitlines()) == 1


def test_classes_end_before_the_null_class():
    with pytest.raises(ValueError, match="class is 5; give a whole number from 0 to 4"):
        read("class", class_label=5)
