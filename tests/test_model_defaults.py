"""The settings that a model brings for calls that give none."""

from dataclasses import replace

import pytest

from vqdiffusion_jax import preset
from vqdiffusion_jax.call.call import with_defaults
from vqdiffusion_jax.config import ModelConfig, SamplingDefaults, from_dict, to_dict
from vqdiffusion_jax.embedded import folder_of
from vqdiffusion_jax.errors import ConfigError
from vqdiffusion_jax.evaluation.protocol import Protocol
from vqdiffusion_jax.model_folder import read_config
from vqdiffusion_jax.presets import PRESETS
from vqdiffusion_jax.sampling import Ancestral, MaskGIT, PurityPrior, SamplingSettings

OWN = SamplingDefaults(strategy="purity", strategy_options={"tokens_per_call": 3, "purity_weight": 0.5})
CONFIG = replace(preset("tiny_text"), sampling=OWN)


def strategy(**fields):
    return with_defaults(CONFIG, SamplingSettings.of(**fields)).strategy


def test_a_call_that_names_no_strategy_takes_the_models():
    assert SamplingSettings().strategy is None and "strategy" not in SamplingSettings().to_dict()
    assert strategy() == strategy(guidance_scale=2.0, top_k=3) == PurityPrior(tokens_per_call=3, purity_weight=0.5)
    recipe = with_defaults(CONFIG, SamplingSettings(prompt="a")).to_dict()
    assert (recipe["strategy"], recipe["tokens_per_call"]) == ("purity", 3)  # a recipe leaves nothing to the model


def test_a_call_that_names_one_or_gives_a_setting_of_one_does_not():
    assert strategy(num_inference_steps=4) == Ancestral(4)
    assert strategy(strategy="purity") == PurityPrior()
    assert strategy(strategy=MaskGIT(2)) == MaskGIT(2)
    assert SamplingSettings().changed(num_inference_steps=4).strategy == Ancestral(4)


def test_a_picture_is_begun_from_by_a_strategy_that_can():
    assert strategy(strength=0.5, image="picture.png") == Ancestral()


def test_a_protocol_leaves_no_strategy_to_the_model():
    assert Protocol(name="x").sampling.strategy == Ancestral()


def test_the_defaults_go_through_a_model_folder():
    assert from_dict(ModelConfig, to_dict(CONFIG), where="here") == CONFIG
    older = {"guidance_scale": 1.5, "truncation_rate": 1.0}  # without a strategy
    assert from_dict(SamplingDefaults, older, where="here").strategy == "posterior"


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"strategy": "puritas"}, "puritas"),
        ({"strategy": "purity", "strategy_options": {"temperature": 1.0}}, "temperature"),
        ({"strategy": "purity", "strategy_options": {"tokens_per_call": 0}}, "tokens_per_call"),
    ],
)
def test_defaults_that_cannot_be_are_told(own, words):
    config = replace(CONFIG, sampling=SamplingDefaults(**own))
    with pytest.raises(ConfigError, match=f"SamplingDefaults.*{words}"):
        with_defaults(config, SamplingSettings())


def test_released_models_keep_the_reference_strategy_and_the_embedded_one_is_quick():
    assert {name for name, config in PRESETS.items() if config.sampling.strategy != "posterior"} <= {"emoji"}
    own = with_defaults(read_config(folder_of("emoji")), SamplingSettings())
    assert own.strategy is not None
