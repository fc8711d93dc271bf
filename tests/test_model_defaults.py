"""The settings that a model brings for calls that give none."""

from dataclasses import replace

import pytest

from vqdiffusion_jax import preset
from vqdiffusion_jax.call.call import with_defaults
from vqdiffusion_jax.config import ModelConfig, SamplingDefaults, from_dict, to_dict
from vqdiffusion_jax.embedded import folder_of
from vqdiffusion_jax.errors import ConfigError, SettingError
from vqdiffusion_jax.evaluation.protocol import Protocol
from vqdiffusion_jax.model_folder import read_config
from vqdiffusion_jax.presets import PRESETS
from vqdiffusion_jax.sampling import Ancestral, MaskGIT, PurityPrior, Remask, SamplingSettings

OWN = SamplingDefaults(strategy="purity", strategy_options={"tokens_per_call": 3, "purity_weight": 0.5})
CONFIG = replace(preset("tiny_text"), sampling=OWN)


def strategy(**fields):
    return with_defaults(CONFIG, SamplingSettings.of(**fields)).strategy


def test_a_call_that_names_no_strategy_takes_the_models():
    assert SamplingSettings().strategy is None and "strategy" not in SamplingSettings().to_dict()
    assert strategy() == strategy(guidance_scale=2.0, top_k=3) == PurityPrior(tokens_per_call=3, purity_weight=0.5)
    recipe = with_defaults(CONFIG, SamplingSettings(prompt="a")).to_dict()
    assert (recipe["strategy"], recipe["tokens_per_call"]) == ("purity", 3)  # a recipe leaves nothing to the model


IMAGE = "picture.png"
GIVEN = [  # a call's fields, and the strategy over the model's and over a recorded one
    ({}, PurityPrior(0.5, tokens_per_call=3), MaskGIT(20, 2.0, "linear")),
    ({"guidance_scale": 3.0}, PurityPrior(0.5, tokens_per_call=3), MaskGIT(20, 2.0, "linear")),
    ({"purity_weight": 2.0}, PurityPrior(2.0, tokens_per_call=3), None),
    ({"temperature": 1.0}, None, MaskGIT(20, 1.0, "linear")),
    ({"strategy": "purity"}, PurityPrior(0.5, tokens_per_call=3), PurityPrior()),
    ({"strategy": "purity", "purity_weight": 2.0}, PurityPrior(2.0, tokens_per_call=3), PurityPrior(2.0)),
    ({"strategy": "maskgit"}, MaskGIT(), MaskGIT(20, 2.0, "linear")),
    ({"strategy": "maskgit", "temperature": 1.0}, MaskGIT(temperature=1.0), MaskGIT(20, 1.0, "linear")),
    ({"strategy": "remask", "num_inference_steps": 4}, Remask(num_inference_steps=4), Remask(num_inference_steps=4)),
    ({"strategy": MaskGIT(2)}, MaskGIT(2), MaskGIT(2)),
    ({"num_inference_steps": 4}, None, MaskGIT(4, 2.0, "linear")),
    # What asks for the trained chain.
    ({"timesteps": (9, 4)}, Ancestral(timesteps=(9, 4)), Ancestral(timesteps=(9, 4))),
    ({"first_timestep": 5}, Ancestral(first_timestep=5), Ancestral(first_timestep=5)),
    ({"strength": 0.5, "image": IMAGE}, Ancestral(), Ancestral()),
    ({"strength": 0.5, "image": IMAGE, "num_inference_steps": 4}, Ancestral(4), Ancestral(4)),
    ({"strength": 0.5, "image": IMAGE, "strategy": "maskgit"}, MaskGIT(), MaskGIT(20, 2.0, "linear")),
    ({"strength": 0.5, "image": IMAGE, "temperature": 1.0}, None, None),
    ({"timesteps": (9, 4), "purity_weight": 1.0}, None, None),
    ({"purity_weight": 1.0, "temperature": 1.0}, None, None),
]


@pytest.mark.parametrize(("fields", "over_model", "over_recorded"), GIVEN)
def test_a_given_field_replaces_this_field_of_the_base_alone(fields, over_model, over_recorded):
    recorded = SamplingSettings(strategy=MaskGIT(20, 2.0, "linear"), guidance_scale=2.0, truncation_rate=0.7, seed=4)
    for make, expected in (
        (lambda: with_defaults(CONFIG, SamplingSettings.of(**fields)), over_model),
        (lambda: with_defaults(CONFIG, SamplingSettings().changed(**fields)), over_model),
        (lambda: with_defaults(CONFIG, recorded.changed(**fields)), over_recorded),
    ):
        if expected is None:
            with pytest.raises(SettingError, match="goes with strategy="):
                make()
        else:
            assert make().strategy == expected
    if over_recorded is not None:
        kept = recorded.changed(**fields)
        assert (kept.truncation_rate, kept.seed) == (0.7, 4)
        assert kept.guidance_scale == fields.get("guidance_scale", 2.0)


def test_a_field_takes_the_place_of_those_that_set_the_same():
    base = SamplingSettings(strategy=Remask(0.1, num_inference_steps=8))
    assert base.changed(timesteps=(9, 4)).strategy == Remask(0.1, timesteps=(9, 4))  # which has them itself
    assert base.changed(num_inference_steps=None).strategy == Remask(0.1)
    begun = SamplingSettings(strategy=Ancestral(4, first_timestep=7)).changed(strength=0.5, image=IMAGE)
    assert begun.strategy == Ancestral(4)
    named = SamplingSettings.of(num_inference_steps=5).changed(strategy="maskgit").changed(temperature=1.0)
    assert named.completed(Ancestral()).strategy == MaskGIT(5, 1.0)


def test_what_the_posterior_is_taken_for_is_told():
    told = "purity_weight goes with strategy=purity, not posterior, which strength needs"
    with pytest.raises(SettingError, match=told):
        strategy(strength=0.5, image=IMAGE, purity_weight=1.0)


def test_the_table_of_a_whole_strategy_is_not_completed_by_the_model():
    table = {"strategy": "purity", "purity_weight": 0.5, "prompt": "a"}
    assert with_defaults(CONFIG, SamplingSettings.from_dict(table)).strategy == PurityPrior(0.5)
    old = SamplingSettings.from_dict({"steps": 4, "prompt": "a"})  # of a time when every model drew by the posterior
    assert old.strategy == Ancestral(4)


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
