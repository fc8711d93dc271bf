"""Lines about a call before it is drawn: settings that change nothing, and numbers that do not fit."""

import warnings

import jax
import numpy as np
import pytest

from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.call import settle
from vqdiffusion_jax.errors import SettingError, UnusedSettingWarning
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.sampling import KeyNoise, SamplingSettings


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
