"""Lines about a call before it is drawn: settings that change nothing, and numbers that do not fit."""

import warnings

import jax
import numpy as np
import pytest
from PIL import Image

from tests.networks import random_network
from tests.told import own
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.call import settle
from vqdiffusion_jax.errors import SettingError, UnknownWordsWarning, UnusedSettingWarning
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.sampling import KeyNoise, SamplingSettings
from vqdiffusion_jax.text.known_words import KnownWords


@pytest.fixture(scope="module")
def text():
    return VQDiffusionPipeline(random_network(VQDiffusionModel, preset("tiny_text")))


def test_settings_of_guidance_without_guidance_are_told(text):
    idle = {"negative_prompt": "a cat", "guidance_interval": (0, 3), "guidance_plausibility": 0.1, "null": "text"}
    for name, value in idle.items():
        with pytest.warns(
            UnusedSettingWarning, match=f"^{name} changes nothing, as guidance_scale is 1, which is no gui"
        ):
            text("a dog", guidance_scale=1.0, num_inference_steps=2, **{name: value})
    with pytest.warns(UnusedSettingWarning, match="^guidance_interval and null change nothing"):
        text("a dog", guidance_scale=1, num_inference_steps=2, guidance_interval=(0, 3), null="text")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text("a dog", guidance_scale=2.0, num_inference_steps=2, guidance_interval=(0, 3))
        text("a dog", guidance_scale=1.0, num_inference_steps=2)


@pytest.mark.parametrize(
    "ask", [lambda text, **of: text(**of), lambda text, **of: text.stream(SamplingSettings.of(**of))]
)
def test_every_way_to_ask_a_pipeline_warns_at_its_callers_line(ask):
    text = VQDiffusionPipeline(
        random_network(VQDiffusionModel, preset("tiny_text")), known_words=KnownWords(("dog",), frozenset({"a"}))
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        ask(text, prompt="a zorkmid", guidance_scale=1, negative_prompt="a cat", num_inference_steps=1)
    unknown, unused = own(told)
    assert (unknown.category, unused.category) == (UnknownWordsWarning, UnusedSettingWarning)
    assert "zorkmid" in str(unknown.message) and str(unused.message).startswith("negative_prompt changes nothing")
    assert {unknown.filename, unused.filename} == {__file__}


SIZE = preset("tiny_text").codec.image_size
HALF = np.arange(SIZE)[None].repeat(SIZE, 0) < SIZE // 2
DARK_STROKES = np.dstack([np.full((SIZE, SIZE), grey, np.uint8) for grey in (200, 0, 0)] + [HALF * np.uint8(255)])
NOTHING = {
    "0 and 3": HALF * np.uint8(3),
    "0 to 100": (HALF * np.linspace(0, 100, SIZE)).astype(np.int64),
    "16 bits, 0 to 300": HALF * np.uint16(300),
    "dark strokes": DARK_STROKES,
    "dark strokes, PIL": Image.fromarray(DARK_STROKES),
    "bool": np.zeros_like(HALF),
    "floats": HALF * 0.4,
}


@pytest.mark.parametrize("name", NOTHING)
def test_a_mask_that_paints_nothing_is_told(text, name):
    assert lines_about(text, NOTHING[name]) == [
        "mask_image paints nothing, so that image comes back as it is; painted is what is lighter than half and visible"
    ]


def test_a_mask_that_paints_everything_or_some_that_paint_nothing_are_told(text):
    (everything,) = lines_about(text, np.ones_like(HALF))
    assert everything.startswith("mask_image paints everything, so that nothing of image is kept; painted is")
    none, whole = lines_about(text, [~HALF, HALF * np.uint8(3), HALF | True], num_images_per_prompt=3)
    assert none.startswith("mask_image paints nothing in 1 of 3 masks, so that")
    assert whole.startswith("mask_image paints everything in 1 of 3 masks, so that")
    one_pixel = np.zeros_like(HALF)
    one_pixel[0, 0] = True
    for mask in (HALF, one_pixel, ~one_pixel):
        assert lines_about(text, mask) == []
    assert lines_about(text, None, outpaint=(0.25, 0.0, 0.25, 0.0)) == []


def test_a_mask_that_paints_nothing_is_a_warning_in_python(text):
    start = np.zeros((SIZE, SIZE, 3), np.uint8)
    with pytest.warns(UnusedSettingWarning, match="^mask_image paints nothing, so that image comes back as it is"):
        text("a dog", image=start, mask_image=NOTHING["0 and 3"], num_inference_steps=2)


def lines_about(pipeline, mask, **more):
    start = np.zeros((SIZE, SIZE, 3), np.uint8)
    settings = SamplingSettings.of(prompt="a dog", image=start, mask_image=mask, **more)
    return settle(pipeline.config, pipeline.schedule, pipeline.tokenizer, settings).unused()


def no_tokens(texts):
    raise AssertionError("the texts are tokenized")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"seed": [1, 2]}, "seed holds 2 seeds for 3 pictures"),
        ({"negative_prompt": ["a", "b"]}, "negative_prompt has 2 entries for 3 prompts"),
        ({"guidance_interval": (0, 5000)}, "guidance_interval is"),
        ({"num_inference_steps": 5000}, "num_inference_steps is 5000"),
        ({"image": [np.zeros((16, 16, 3), np.uint8)] * 2, "strength": 0.5}, "image holds 2 pictures for 3"),
        ({"latents": np.zeros((2, 16), np.int32)}, "latents has shape"),
        ({"noise": KeyNoise(jax.random.split(jax.random.key(0), 2))}, "noise has keys"),
    ],
)
def test_numbers_are_checked_before_any_prompt_is_tokenized(text, fields, told):
    settings = SamplingSettings.of(prompt=["a", "b", "c"], **fields)
    with pytest.raises(SettingError, match=told):
        settle(text.config, text.schedule, no_tokens, settings)
