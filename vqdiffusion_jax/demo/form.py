"""The form: flat fields of ``SamplingSettings`` under the same names, as a visitor filled them in.

No value of a form is trusted.  A field that is None, empty or missing leaves its default.  One field is the page's own:
``calls``, a number of network calls from which a strategy chooses its settings where the form leaves them open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..call.call import default_strategy, with_defaults
from ..config import ModelConfig
from ..errors import SettingError
from ..recipe import PICTURES
from ..sampling import SamplingSettings, Strategy, first_timestep_of
from ..sampling.choice import PartialStrategy
from ..sampling.fields import Setting, settings_of
from ..sampling.registry import STRATEGIES, name_of
from ..sampling.strategy import CountsCalls
from .limits import Limits

Form = Mapping[str, Any]

SUBJECT = {"text": "prompt", "class": "class_labels"}  # by the model's condition
CALLS = Setting(
    type=int,
    least=1,
    help="Network calls a picture; fewer are faster.  A strategy's own settings come before it.",
    default_help="the strategy's own",
)
EXACT = 2**53  # browsers hold whole numbers exactly up to here


def model_inputs(config: ModelConfig, limits: Limits) -> dict[str, Setting]:
    """Return the inputs that do not depend on the strategy, by field, with the page's bounds."""
    denoiser, known = config.denoiser, settings_of(SamplingSettings)
    subject = SUBJECT.get(denoiser.condition)
    names = ["seed", "num_images_per_prompt", "truncation_rate", "strength"]
    names += [subject, "guidance_scale", "guidance_plausibility"] if subject else []
    found = {name: limits.narrowed(name, known[name]) for name in names}
    if subject == "class_labels":
        last = denoiser.num_classes - denoiser.learnable_null - 1
        found[subject] = replace(found[subject], most=last)
    found["calls"] = replace(CALLS, most=denoiser.num_timesteps)
    found["strategy"] = Setting(type=str, choices=tuple(STRATEGIES), help="Step rule.")
    return found


def strategy_inputs(strategy: str, limits: Limits) -> dict[str, Setting]:
    """Return the inputs of a strategy's own settings, by field, with the page's bounds."""
    known = settings_of(STRATEGIES[strategy])
    return {name: limits.narrowed(name, about) for name, about in known.items() if about.type is not None}


def default_form(config: ModelConfig) -> dict[str, Any]:
    """Return the form of a new visit: the model's own settings."""
    return with_defaults(config, SamplingSettings()).flat()


def counts_calls(strategy: str) -> bool:
    """Return whether ``calls`` means something to a strategy."""
    return issubclass(STRATEGIES[strategy], CountsCalls)


def read_form(form: Form, config: ModelConfig, limits: Limits) -> SamplingSettings:
    """Return the settings of a form.

    ``image`` and ``mask_image`` are taken as they are; they come from the page, not from the visitor.
    Raises SettingError for a value that is not allowed, or more than ``limits``.
    """
    inputs = model_inputs(config, limits)
    strategy = _checked("strategy", inputs["strategy"], form.get("strategy"), limits) or config.sampling.strategy
    inputs |= strategy_inputs(strategy, limits)
    pictures = {name: form[name] for name in PICTURES if form.get(name) is not None}
    for name in form:
        if name not in inputs and name not in PICTURES:
            raise SettingError("there is no input {name!r}", name=name)
    fields = {name: _checked(name, about, form.get(name), limits) for name, about in inputs.items()}
    fields = {name: value for name, value in fields.items() if value is not None}
    subject = SUBJECT.get(config.denoiser.condition)
    if subject and subject not in fields:
        raise SettingError(f"{{{subject}}} is empty; say what to draw")
    calls = fields.pop("calls", None)
    chosen = usual_strategy(strategy, config, begins_late=fields.get("strength") is not None)
    if calls is not None and isinstance(chosen, CountsCalls):
        chosen = _with_calls(chosen, calls, config, fields.get("strength"))
    of_strategy = {name: value for name, value in fields.items() if name in strategy_inputs(strategy, limits)}
    own = {name: value for name, value in fields.items() if name not in (*of_strategy, "strategy")}
    chosen = PartialStrategy(name_of(chosen), of_strategy).over(chosen)
    return SamplingSettings(strategy=chosen, output_type="tokens", **own, **pictures)


def usual_strategy(name: str, config: ModelConfig, *, begins_late: bool = False) -> Strategy:
    """Return a strategy as it is where the form leaves its settings open.

    The page always names one, so that the model's own counts as not named: it gives way to the posterior if the run
    begins at the noise level of a strength.
    """
    chosen = PartialStrategy(None if name == config.sampling.strategy else name)
    return chosen.over(default_strategy(config), begins_late=begins_late)


def with_strategy(form: Form, strategy: str, calls: int, config: ModelConfig) -> Form:
    """Return a form with another strategy, whose settings are those for about ``calls`` network calls."""
    dropped = settings_of(STRATEGIES[form.get("strategy") or config.sampling.strategy])
    kept = {name: value for name, value in form.items() if name not in dropped}
    return kept | {"strategy": strategy, "calls": calls}


def _with_calls(base: CountsCalls, calls: int, config: ModelConfig, strength: float | None) -> Strategy:
    """Return a strategy with ``calls`` network calls and its other settings."""
    denoiser = config.denoiser
    if strength is not None:  # only the timesteps from the picture's noise level down are left
        calls = min(calls, first_timestep_of(strength, denoiser.num_timesteps) + 1)
    return base.with_calls(calls, denoiser.num_timesteps, denoiser.num_tokens)


def _checked(name: str, about: Setting, value: Any, limits: Limits) -> Any:
    """Return a value as the setting holds it, or None for an empty one."""
    if isinstance(value, str):
        value = " ".join(value.split())
        if len(value) > limits.length_of(name, about):
            told = f"{{{name}}} has {{value:,}} characters; give at most {{most}}"
            raise SettingError(told, value=len(value), most=limits.length_of(name, about))
    if value is None or value == "":
        return None
    return about.checked(name, _parsed(about, value))


def _parsed(about: Setting, value: Any) -> Any:
    """Return numbers of a text with commas, and a browser's number as the whole number that it is."""
    if about.many and isinstance(value, str):
        try:
            return tuple((about.type or str)(one) for one in value.split(","))
        except ValueError:
            return value
    if isinstance(value, int | float) and abs(value) > EXACT:
        return value if isinstance(value, float) else "a huge number"
    if about.type is int and isinstance(value, float) and value.is_integer():
        return int(value)
    return value
