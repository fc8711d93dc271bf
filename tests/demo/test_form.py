import math
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.demo.form import offered
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.call.call import default_strategy, planned
from vqdiffusion_jax.config import SamplingDefaults
from vqdiffusion_jax.demo.form import default_form, read_form, with_strategy
from vqdiffusion_jax.demo.job import job_of
from vqdiffusion_jax.demo.limits import Limits
from vqdiffusion_jax.demo.start_picture import StartPicture
from vqdiffusion_jax.demo.wording import label_of, told, told_to
from vqdiffusion_jax.diffusion.schedule import make_schedule
from vqdiffusion_jax.embedded import folder_of
from vqdiffusion_jax.model_folder import read_config
from vqdiffusion_jax.sampling import (
    STRATEGIES,
    Ancestral,
    EntropyBound,
    FewerTokens,
    MaskGIT,
    PurityPrior,
    ReferenceFast,
    Remask,
)
from vqdiffusion_jax.sampling.fields import settings_of
from vqdiffusion_jax.sampling.registry import name_of
from vqdiffusion_jax.web.limits import MOST

LIMITS = Limits(most=MOST | {"num_images_per_prompt": 3, "prompt": 20})
SIZE = 16
PICTURE = np.zeros((SIZE, SIZE, 3), np.uint8)
MASK = np.eye(SIZE, dtype=bool)
WHOLE = ("num_inference_steps", "first_timestep", "skip_step", "tokens_per_call")
TYPED = {name: (2.0, 2) for name in WHOLE} | {"timesteps": ("5, 3", (5, 3)), "counts": ("9," * 9 + "9", (9,) * 10)}


def without_weights(kind="text"):
    return VQDiffusionPipeline(SimpleNamespace(config=preset(f"tiny_{kind}")))  # no form needs them


def job(kind="text", **form):
    return job_of(form, without_weights(kind), LIMITS, {"checkpoint": "somewhere"})


def test_the_form_begins_with_the_models_own_settings():
    config = replace(preset("tiny_text"), sampling=SamplingDefaults(guidance_scale=2.5, truncation_rate=0.9))
    form = default_form(config)
    assert (form["strategy"], form["guidance_scale"], form["truncation_rate"], form["seed"]) == (
        "posterior",
        2.5,
        0.9,
        0,
    )


def test_a_form_becomes_settings_and_a_recipe():
    made = job(
        prompt=" a  red apple\n",
        seed=7.0,
        num_images_per_prompt=2,
        calls=5,
        guidance_scale=3,
        truncation_rate="",
        guidance_plausibility=0.01,
    )
    settings = made.settings
    assert (settings.prompt, settings.seed, settings.strategy) == (("a red apple",), 7, Ancestral(5))
    assert (settings.guidance_scale, settings.truncation_rate) == (3.0, preset("tiny_text").sampling.truncation_rate)
    assert (made.count, made.calls, made.every) == (2, 5, 1)
    recipe = made.recipe_of(1)
    assert recipe.pop("version")
    assert recipe == {
        "mode": "sample",
        "checkpoint": "somewhere",
        "prompt": "a red apple",
        "seed": 7,
        "null": "auto",
        "strategy": "posterior",
        "num_inference_steps": 5,
        "guidance_scale": 3.0,
        "guidance_plausibility": 0.01,
        "truncation_rate": settings.truncation_rate,
        "batch_size": 1,
        "num_images_per_prompt": 1,
        "first_image": 1,
        "rounding": "truncate",
        "return_trajectory": False,
    }
    assert made.caption_of(1) == "a red apple, seed 7, picture 2 of 2, posterior, 5 calls"


def test_each_kind_of_model_is_asked_for_its_own_subject():
    assert job("class", class_labels=3).recipe["class_labels"] == 3
    assert "prompt" not in job("unconditional").recipe
    for kind, foreign in (("class", "prompt"), ("text", "class_labels"), ("unconditional", "guidance_plausibility")):
        with pytest.raises(ValueError, match=f"there is no input '{foreign}'"):
            job(kind, **{foreign: 1})


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_comes_near_the_calls_asked_for(strategy):
    made = job(prompt="a", strategy=strategy, calls=5)
    assert made.strategy == strategy
    assert made.calls == 16 if strategy == "entropy_bound" else abs(made.calls - 5) <= 1  # at most one call a token


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_setting_of_a_strategy_is_an_input_and_is_read(strategy):
    pipeline = without_weights()
    own = [name for name, about in settings_of(STRATEGIES[strategy]).items() if about.type is not None]
    assert list(offered(pipeline, strategy))[-len(own) :] == own
    for name in own:
        about = offered(pipeline, strategy)[name]
        typed, expected = TYPED.get(name, (about.choices[-1],) * 2 if about.choices else (0.5, 0.5))
        settings = read_form({"prompt": "a", "strategy": strategy, name: typed}, pipeline.config, LIMITS)
        assert getattr(settings.strategy, name) == expected


def test_a_setting_comes_before_the_number_of_calls():
    assert job(prompt="a", calls=5, timesteps="9, 4,0").settings.strategy == Ancestral(timesteps=(9, 4, 0))
    assert job(prompt="a", calls=5, num_inference_steps=3).calls == 3


def test_another_strategy_is_compared_at_about_as_many_calls():
    first = {"prompt": "a", "seed": 3, "strategy": "maskgit", "num_inference_steps": 6, "temperature": 2.0}
    calls = job(**first).usual_calls
    other = job(**with_strategy(first, "remask", calls, preset("tiny_text")))
    assert (other.strategy, other.calls, other.settings.seed) == ("remask", 6, 3)
    assert job(prompt="a", strategy="entropy_bound").usual_calls == 4  # of 16 at most


def test_a_given_picture_is_noised_or_kept_where_it_is_not_masked():
    made = job(prompt="a", image=PICTURE, strength=0.5, calls=8)
    assert made.calls == 5  # of the ten timesteps those below the noise level
    assert (made.recipe["image"], made.recipe["strength"]) == ("image.png", 0.5)
    made = job(prompt="a", image=PICTURE, mask_image=MASK, strategy="purity")
    assert (made.recipe["image"], made.recipe["mask_image"]) == ("image.png", "mask_image.png")
    assert "strength" not in made.recipe and made.start["mask_image"].sum() == SIZE


@pytest.mark.parametrize(
    "form, message",
    [
        ({"prompt": "  "}, "Prompt is empty; say what to draw"),
        ({"prompt": None}, "Prompt is empty"),
        ({"prompt": "a" * 21}, "Prompt has 21 characters; give at most 20"),
        ({"prompt": ["a"] * 1000}, r"Prompt is \['a', 'a'.*\.\.\."),
        ({"seed": -1}, "Seed is -1; it must be a whole number from 0 to 9007199254740991"),
        ({"seed": 1e300}, r"Seed is 1e\+300; it must be a whole number"),
        ({"seed": 10**400}, "Seed is 'a huge number'; it must be a whole number"),
        ({"seed": math.inf}, "Seed is inf; it must be a whole number"),
        ({"seed": [1, 2]}, r"Seed is \[1, 2\]; it must be a whole number"),
        ({"seed": "7"}, "Seed is '7'"),
        ({"num_images_per_prompt": 1_000_000}, "Images is 1000000; it must be a whole number from 1 to 3"),
        ({"num_images_per_prompt": 1.5}, "Images is 1.5"),
        ({"num_images_per_prompt": True}, "Images is True"),
        ({"calls": 0}, "Steps is 0; it must be a whole number from 1 to 10"),
        ({"calls": math.nan}, "Steps is nan"),
        ({"num_inference_steps": 11}, "Inference steps is 11; from timestep 9 there are 1 to 10 steps"),
        ({"guidance_scale": 1e9}, "Guidance is 1000000000.0; it must be a finite number from -30 to 30"),
        ({"truncation_rate": 0.0}, "Truncation is 0.0; it must be a finite number above 0, up to 1"),
        ({"timesteps": "1,x"}, "Timesteps is '1,x'; it must be one or more values, each a whole number"),
        ({"timesteps": "1" * 3000}, "Timesteps has 3,000 characters; give at most 2000"),
        ({"strategy": "best"}, "Strategy is 'best'; it must be one of posterior, "),
        ({"strategy": {"a": []}}, "Strategy is {'a': .*; it must be one of posterior, "),
        ({"strategy": "fast", "skip_step": 10**18}, "Skip step is 'a huge number'"),
        (
            {"strategy": "purity", "purity_weight": -1},
            "Purity weight is -1; it must be a finite number from 0 to 10000",
        ),
        ({"strategy": "purity", "tokens_per_call": 1, "counts": "1024," * 9 + "1024"}, "9,208 network calls"),
        ({"strategy": "maskgit", "skip_step": 2}, "there is no input 'skip_step'"),
        ({"batch_size": 10**9}, "there is no input 'batch_size'"),
        ({"image": PICTURE, "strength": 0.0}, "Strength is 0.0; it must be a finite number above 0, up to 1"),
        ({"image": PICTURE, "strength": 0.05}, "Strength is 0.05, which leaves no step"),
        ({"image": PICTURE, "strength": None}, "The picture to start from is given without Strength"),
        ({"image": PICTURE, "strength": 0.5, "strategy": "purity"}, "Strength is given with Strategy=purity"),
    ],
)
def test_a_form_that_cannot_be_drawn_is_told_in_one_line(form, message):
    complaints = []
    with told_to(complaints.append):
        job(**{"prompt": "a"} | form)
    (line,) = complaints
    assert len(line.splitlines()) == 1 and len(line) < 400
    assert re.search(message, line), line


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    "value",
    [None, "", "x", -1, 0, 1e300, -1e300, 10**400, math.nan, math.inf, True, [], [None], {}, b"x", "1," * 999],
)
def test_no_value_of_any_input_raises_anything_but_one_line(strategy, value):
    pipeline = without_weights()
    for name in offered(pipeline, strategy, LIMITS):
        form = {"prompt": "a", "strategy": strategy} | {name: value}
        try:
            job_of(form, pipeline, LIMITS, {})
        except ValueError as error:
            assert len(told(error).splitlines()) == 1 and label_of(name) in told(error)


def test_an_error_that_nobody_foresaw_is_told_and_logged(caplog):
    complaints = []
    with told_to(complaints.append):
        [].pop()
    assert complaints == ["that cannot be done (pop from empty list)"] and caplog.records


def test_classes_end_before_the_null_class():
    with pytest.raises(ValueError) as caught:
        job("class", class_labels=5)
    assert told(caught.value) == "Class is 5; it must be a whole number from 0 to 4"


def test_a_form_leaves_the_strategy_to_the_model():
    """Its own settings hold until the form names steps, or a strategy; a picture is begun from by the posterior."""
    own = SamplingDefaults(strategy="purity", strategy_options={"tokens_per_call": 3})
    config = replace(preset("tiny_text"), sampling=own)

    def read(**form):
        return read_form({"prompt": "a"} | form, config, LIMITS).strategy

    assert default_form(config)["strategy"] == "purity" and default_form(config)["tokens_per_call"] == 3
    assert read() == read(strategy="purity") == PurityPrior(tokens_per_call=3)
    assert read(purity_weight=2) == PurityPrior(tokens_per_call=3, purity_weight=2.0)
    assert read(calls=2) == PurityPrior(tokens_per_call=16)
    assert read(calls=2, tokens_per_call=4) == PurityPrior(tokens_per_call=4)
    assert read(strategy="posterior") == Ancestral()
    picture = np.zeros((16, 16, 3), np.uint8)
    assert type(read(strategy="purity", strength=0.5, image=picture)) is Ancestral
    assert with_strategy({"tokens_per_call": 3}, "maskgit", 4, config) == {"strategy": "maskgit", "calls": 4}


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (MaskGIT(12, temperature=0.5, mask_schedule="linear"), MaskGIT(5, temperature=0.5, mask_schedule="linear")),
        (Remask(0.3, "rescale", timesteps=(8, 2)), Remask(0.3, "rescale", num_inference_steps=5)),
        (PurityPrior(2.0, counts=(0, *[2] * 8, 0)), PurityPrior(2.0, tokens_per_call=4)),
        (FewerTokens(tokens_per_call=1), FewerTokens(tokens_per_call=4)),
        (Ancestral(2, first_timestep=3), Ancestral(4, first_timestep=3)),
        (Ancestral(timesteps=(8, 2)), Ancestral(5)),
        (ReferenceFast(4), ReferenceFast(1)),
        (EntropyBound(0.5), EntropyBound(0.5)),
    ],
)
def test_a_number_of_calls_keeps_the_other_settings_of_the_model(own, expected):
    options = {name: getattr(own, name) for name in settings_of(own) if getattr(own, name) is not None}
    config = replace(preset("tiny_text"), sampling=SamplingDefaults(strategy=name_of(own), strategy_options=options))
    assert read_form({"prompt": "a", "calls": 5}, config, LIMITS).strategy == expected


def test_a_drawn_picture_is_edited_with_the_page_as_it_opens():
    """The page names the model's strategy, MaskGIT, and the editor presets a strength."""
    config = read_config(folder_of("emoji"))
    assert name_of(default_strategy(config)) == "maskgit"
    edited = StartPicture(config.codec.image_size)
    edited.put(Image.fromarray(np.zeros((64, 64, 3), np.uint8)))
    form = {"prompt": "a", "strategy": "maskgit", "mask_schedule": None, "num_inference_steps": None}
    for more in ({}, {"calls": 5}):
        settings = read_form(form | more | edited.fields("picture", 0.6), config, LIMITS)
        assert settings.strategy == Ancestral(more.get("calls")) and settings.strength == 0.6
        assert planned(config, make_schedule(config.schedule), settings.strategy, settings.strength)[2] == 59
