"""Settings of guidance that change nothing are told, in one line."""

import warnings

import pytest

from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.errors import UnusedSettingWarning
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel


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
