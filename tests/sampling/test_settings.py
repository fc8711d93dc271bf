"""SamplingSettings and the strategies' own settings: names, types, round trips through JSON, changes and errors."""

import dataclasses
import json
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from vqdiffusion_jax.errors import SettingError
from vqdiffusion_jax.sampling import STRATEGIES, Ancestral, MaskGIT, PurityPrior
from vqdiffusion_jax.sampling.choice import takers
from vqdiffusion_jax.sampling.fields import Setting, setting, settings_of
from vqdiffusion_jax.sampling.seeds import MAX_SEED
from vqdiffusion_jax.sampling.settings import (
    EXCLUSIVE,
    SamplingFields,
    SamplingSettings,
    StrategyFields,
    all_settings,
)

OWN = settings_of(SamplingSettings)
TYPED = [name for name, about in OWN.items() if about.type is not None]
OF_STRATEGIES = [(strategy, name) for strategy, cls in STRATEGIES.items() for name in settings_of(cls)]
PARTNERS = {"image": "strength", "strength": "image", "mask_image": "image", "outpaint": "image"}


TEXT = some.characters(codec="utf-8", exclude_characters="\0")


def one_value(about: Setting) -> some.SearchStrategy:
    """Return values that a described field allows, one of them if it holds many."""
    if about.choices:
        return some.sampled_from(about.choices)
    if about.type is int:
        least = int(about.least or 0)
        return some.integers(least, least + 50)
    if about.type is float:
        least = about.above if about.least is None else about.least
        least, most = -3.4e38 if least is None else least, 3.4e38 if about.most is None else about.most
        return some.floats(least, most, exclude_min=about.above is not None, allow_nan=False, width=64)
    return some.booleans() if about.type is bool else some.text(TEXT, min_size=1)


def allowed_values(name: str, about: Setting) -> some.SearchStrategy:
    """Return values that the field of this name allows."""
    one = one_value(about)
    if name == "seed":
        one = some.integers(0, MAX_SEED)
        return one | some.lists(one, min_size=1, max_size=3)
    if name == "timesteps":
        return some.sets(one, min_size=1).map(lambda steps: tuple(sorted(steps, reverse=True)))
    if name == "guidance_interval":
        return some.tuples(one, one).map(sorted)
    if not about.many:
        return one.filter(
            lambda value: not isinstance(value, float) or abs(value) < float("inf") or about.most == value
        )
    several = some.lists(one, min_size=about.count or 1, max_size=about.count or 3)
    return one | several if about.count is None else several


def assert_kept_by_json(made: SamplingSettings) -> None:
    table = json.loads(json.dumps(made.to_dict()))
    assert SamplingSettings.from_dict(table) == made
    assert None not in table.values() and "output_type" not in table


@pytest.mark.parametrize("name", TYPED)
@settings(max_examples=25, deadline=None)
@given(data=some.data())
def test_json_keeps_every_field(name, data):
    fields = {name: data.draw(allowed_values(name, OWN[name]))}
    if name in PARTNERS:
        fields[PARTNERS[name]] = data.draw(allowed_values(PARTNERS[name], OWN[PARTNERS[name]]))
    assert_kept_by_json(SamplingSettings(**fields))


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(max_examples=40, deadline=None)
@given(data=some.data())
def test_json_keeps_every_strategy_among_other_settings(strategy, data):
    about = settings_of(STRATEGIES[strategy])
    chosen = data.draw(some.sets(some.sampled_from(list(about))))
    chosen -= {"num_inference_steps", "first_timestep"} if "timesteps" in chosen else set()
    fields = {name: data.draw(allowed_values(name, about[name])) for name in chosen}
    made = SamplingSettings.of(strategy=strategy, prompt="a", guidance_scale=2, **fields).completed(Ancestral())
    assert isinstance(made.strategy, STRATEGIES[strategy])
    assert {name: getattr(made.strategy, name) for name in chosen} == {
        name: getattr(STRATEGIES[strategy](**fields), name) for name in chosen
    }
    assert_kept_by_json(made)


def test_the_types_of_a_call_are_those_of_the_settings():
    named = set(SamplingFields.__annotations__) - set(StrategyFields.__annotations__)
    assert named | {"prompt"} == {field.name for field in dataclasses.fields(SamplingSettings)}
    ours = {name for cls in STRATEGIES.values() for name in settings_of(cls)} - {"num_inference_steps"}
    # A strategy's settings may stay out: a new one is one file and one line.
    assert set(StrategyFields.__annotations__) <= ours


def test_a_name_means_one_setting():
    assert not set(OWN) & {name for cls in STRATEGIES.values() for name in settings_of(cls)}
    for name in all_settings():
        kinds = [settings_of(STRATEGIES[one])[name] for one in takers(name)]
        assert len({(about.type, about.many, about.count, about.choices) for about in kinds}) <= 1, name
    former = [about.formerly for about in all_settings().values() if about.formerly]
    assert len(set(former)) == len(former) and not set(former) & set(all_settings())


def refused(make) -> SettingError:
    with pytest.raises(SettingError) as caught:
        make()
    assert "\n" not in str(caught.value)
    return caught.value


CHECKED = [name for name, about in OWN.items() if about.check is None and (about.type or about.choices)]


@pytest.mark.parametrize("name", CHECKED)
def test_an_error_has_the_field_the_value_and_what_is_allowed(name):
    wrong = object()
    error = refused(lambda: SamplingSettings(**{name: wrong}))
    assert (error.field, error.value, error.values["allowed"]) == (name, wrong, OWN[name].allowed)
    assert error.told(lambda field: f"--{field}").startswith(f"--{name} is <object")


@pytest.mark.parametrize(("strategy", "name"), OF_STRATEGIES)
def test_an_error_of_a_strategy_has_them_too(strategy, name):
    error = refused(lambda: SamplingSettings.of(strategy=strategy, **{name: "wrong"}))
    about = settings_of(STRATEGIES[strategy])[name]
    assert (error.field, error.value, error.values["allowed"]) == (name, "wrong", about.allowed)


@pytest.mark.parametrize("name", [name for name in TYPED if OWN[name].least is not None or OWN[name].above is not None])
def test_bounds_are_kept(name):
    about = OWN[name]
    low = about.above if about.least is None else about.least - 1
    for value in [low] + ([] if about.most is None else [about.most + 1]):
        value = about.type(value)
        error = refused(lambda value=value: SamplingSettings(**{name: (value,) * (about.count or 1)}))
        assert error.field == name


@pytest.mark.parametrize(("one", "other"), EXCLUSIVE)
def test_of_two_that_exclude_each_other_both_are_named(one, other):
    values = {
        "seed": 0,
        "image": "a.png",
        "strength": 0.5,
        "outpaint": (0.1, 0, 0, 0),
        "truncation_rate": 0.5,
        "top_k": 2,
    }
    fields = {one: values.get(one, "a"), other: values.get(other, "b"), "image": "a.png", "strength": 0.5}
    assert refused(lambda: SamplingSettings(**fields)).fields == [one, other]


def test_other_errors_name_the_field():
    assert refused(lambda: SamplingSettings(seed=-1)).field == "seed"
    assert refused(lambda: SamplingSettings(strategy=PurityPrior)).field == "strategy"
    assert refused(lambda: SamplingSettings(guidance_interval=(5, 3))).field == "guidance_interval"
    assert refused(lambda: SamplingSettings(strength=0.5)).fields == ["strength", "image"]
    assert refused(lambda: SamplingSettings(image="a.png")).fields == ["image", "strength", "mask_image", "outpaint"]
    assert "did you mean top_k?" in str(refused(lambda: SamplingSettings.of(topk=3)))
    assert "{topk}" in str(refused(lambda: SamplingSettings.of(**{"{topk}": 3})))
    assert refused(lambda: SamplingSettings.of(strategy="puritas")).values["allowed"].startswith("one of posterior")
    error = refused(lambda: SamplingSettings.of(temperature=1.0).completed(Ancestral()))
    assert error.field == "temperature" and error.value == 1.0
    assert refused(lambda: SamplingSettings.of(temperature=-1.0)).field == "temperature"
    assert refused(lambda: SamplingSettings.of(strategy="posterior", temperature=1.0)).field == "temperature"
    assert refused(lambda: SamplingSettings.of(strategy=PurityPrior(), counts=(1,))).fields == ["counts", "strategy"]
    assert refused(lambda: SamplingSettings.of(strategy="maskgit").to_dict()).field == "strategy"
    assert refused(lambda: SamplingSettings(prompt_embeds=np.ones((1, 2, 3))).to_dict()).field == "prompt_embeds"


def test_a_change_drops_what_it_excludes_and_another_strategys_settings():
    first = SamplingSettings(truncation_rate=0.5, strategy=Ancestral(5, first_timestep=7))
    assert first.changed(top_k=3).truncation_rate is None
    assert first.changed(timesteps=(9, 4)).strategy == Ancestral(timesteps=(9, 4))
    assert first.changed(timesteps=(9, 4)).changed(num_inference_steps=3).strategy == Ancestral(3)
    assert first.changed(num_inference_steps=3).strategy == Ancestral(3, first_timestep=7)
    assert first.changed(strategy="maskgit").strategy == MaskGIT()
    assert first.changed(strategy="maskgit", num_inference_steps=3).strategy == MaskGIT(3)
    assert first.changed(strategy=PurityPrior(2.0)).strategy == PurityPrior(2.0)
    assert first.changed(seed=3) == dataclasses.replace(first, seed=3)
    assert refused(lambda: first.changed(truncation_rate=0.5, top_k=3)).fields == ["truncation_rate", "top_k"]


@dataclass(frozen=True)
class Nameless:
    """A strategy that stands in no table."""

    pace: int = setting(2, type=int, least=1, help="Tokens a call.")

    def plan(self, schedule, num_tokens):
        raise NotImplementedError

    def step(self, call, log_x0, tokens, noise, draw):
        raise NotImplementedError


def test_a_strategy_without_a_name_stays_when_other_settings_change():
    made = SamplingSettings(strategy=Nameless(3)).changed(guidance_scale=2.0, seed=1)
    assert made.strategy == Nameless(3) and made.guidance_scale == 2.0
    table = made.to_dict()  # a record, though no name leads back to the class
    assert (table["strategy"], table["pace"]) == ("Nameless", 3)
    assert refused(lambda: SamplingSettings.from_dict({"strategy": "Nameless"})).field == "strategy"
