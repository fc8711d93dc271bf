"""The rule by which given settings of a strategy meet those of a base: the model's default, or a recorded recipe.

A field that is given replaces this field of the base; everything else of it stays.  A strategy's fields belong to the
strategy in force: the base's, unless another is named, which begins with its own defaults.  Where none is named, and a
strength or a field of OF_THE_CHAIN asks for what the base's strategy cannot do, it is the posterior.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, cast

from ..errors import SettingError, did_you_mean
from .fields import settings_of
from .registry import STRATEGIES, name_of
from .strategy import StartsAnywhere, Strategy

POSTERIOR = "posterior"
SCHEDULES = (("num_inference_steps", "timesteps"), ("first_timestep", "timesteps"))  # pairs that set the same thing
OF_THE_CHAIN = ("first_timestep", "timesteps")  # fields that set where in the trained chain a run begins


@dataclass(frozen=True)
class PartialStrategy:
    """A strategy that a base completes.

    name: of STRATEGIES; None for the base's.  fields: settings of it, checked, none of them None.
    Raises SettingError for an unknown name, and for fields that are not allowed or belong to another strategy.
    """

    name: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        given = {name: value for name, value in self.fields.items() if value is not None}
        if self.name is not None:
            whole = strategy_of(self.name, given)
            checked = {name: getattr(whole, name) for name in given}
        else:
            checked = {name: _checked(name, value) for name, value in given.items()}
        object.__setattr__(self, "fields", checked)

    def changed(self, name: str | None, fields: Mapping[str, Any]) -> PartialStrategy:
        """Return this with another name, unless it is None, and with fields in place of its own; None drops one."""
        kept = without_excluded(self.fields, fields)
        if name not in (None, self.name):
            known = settings_of(_class_of(cast(str, name)))
            kept = {own: value for own, value in kept.items() if self.name is None and own in known}
        return PartialStrategy(name or self.name, kept | dict(fields))

    def over(self, base: Strategy, *, begins_late: bool = False) -> Strategy:
        """Return the whole strategy: ``base``, or the one named, with the fields in place of its own.

        begins_late: the run begins at the noise level of a strength, which is given as well.
        Raises SettingError for a field that the strategy does not have.
        """
        if self.name not in (None, name_of(base)):
            return strategy_of(cast(str, self.name), self.fields)
        if self.name is None and (needs := self._needs_posterior(base, begins_late)):
            return strategy_of(POSTERIOR, self.fields, f", which {{{needs}}} needs")
        return _replaced(base, self.fields, begins_late)

    def _needs_posterior(self, base: Strategy, begins_late: bool) -> str | None:
        """Return a given field that asks for the trained chain, which ``base`` does not follow, or None."""
        if begins_late and not isinstance(base, StartsAnywhere):
            return "strength"
        return next((name for name in self.fields if name in OF_THE_CHAIN and name not in settings_of(base)), None)


def completed(chosen: Strategy | PartialStrategy | None, base: Strategy, *, begins_late: bool = False) -> Strategy:
    """Return a whole strategy: ``chosen``, which ``base`` completes; None leaves all to it."""
    if chosen is not None and not isinstance(chosen, PartialStrategy):
        return chosen
    return (chosen or PartialStrategy()).over(base, begins_late=begins_late)


def changed_strategy(
    base: Strategy | PartialStrategy | None,
    chosen: Strategy | str | None,
    fields: Mapping[str, Any],
    *,
    begins_late: bool = False,
) -> Strategy | PartialStrategy | None:
    """Return ``base`` changed by what a call gives: a strategy, or its name, or None, and fields of one.

    fields: one of None is reset to the strategy's default.  begins_late: the call gives a strength.
    It is whole if ``base`` or the given strategy is, and None if nothing is given and ``base`` is None.
    Raises SettingError for an unknown name, for a field of another strategy, and for fields beside a whole strategy.
    """
    if not isinstance(chosen, str | None):
        if given := [name for name, value in fields.items() if value is not None]:
            told = f"{{{given[0]}}} and {{strategy}} are both given; a strategy holds its own settings"
            raise SettingError(told)
        return chosen
    if base is None or isinstance(base, PartialStrategy):
        made = (base or PartialStrategy()).changed(chosen, fields)
        return None if made == PartialStrategy() else made
    if chosen in (None, name_of(base)):
        reset = {name for name, value in fields.items() if value is None and name in settings_of(base)}
        base = _replaced(base, dict.fromkeys(reset), False)
    return PartialStrategy(chosen, fields).over(base, begins_late=begins_late)


def without_excluded(
    kept: Mapping[str, Any], given: Mapping[str, Any], pairs: Sequence[tuple[str, str]] = SCHEDULES
) -> dict[str, Any]:
    """Return the fields ``kept`` without those that a field of ``given`` takes the place of.

    pairs: of fields that set the same thing.
    """
    out = {other for pair in pairs for one, other in (pair, pair[::-1]) if given.get(one) is not None}
    return {name: value for name, value in kept.items() if name not in out}


def takers(name: str) -> list[str]:
    """Return the names of the strategies that have a setting of this name."""
    return [strategy for strategy, cls in STRATEGIES.items() if name in settings_of(cls)]


def strategy_of(name: str, fields: Mapping[str, Any], why: str = "") -> Strategy:
    """Return the strategy of a name with ``fields``, and its own defaults besides.

    why: what is said after the strategy's name where a field is of another.
    Raises SettingError for an unknown name, for a field of another strategy, and for a value that is not allowed.
    """
    cls = _class_of(name)
    for own, value in fields.items():
        if own not in settings_of(cls):
            raise _of_another(own, value, name, why)
    return cls(**fields)


def _class_of(name: str) -> type[Strategy]:
    if name not in STRATEGIES:
        told = "{strategy} is {value!r}; it must be {allowed}{hint}"
        allowed = f"one of {', '.join(STRATEGIES)}"
        raise SettingError(told, value=name, allowed=allowed, hint=did_you_mean(name, STRATEGIES))
    return STRATEGIES[name]


def _of_another(name: str, value: Any, chosen: str, why: str = "") -> SettingError:
    told = f"{{{name}}} goes with {{strategy}}={{takers}}, not {{chosen}}{why}"
    return SettingError(told, value=value, takers=" or ".join(takers(name)), chosen=chosen)


def _replaced(base: Strategy, fields: Mapping[str, Any], begins_late: bool) -> Strategy:
    """Return ``base`` with fields in place of its own, and the defaults of those that they, or a strength, exclude."""
    known = settings_of(base)
    for name, value in fields.items():
        if name not in known:
            raise _of_another(name, value, name_of(base))
    kept = without_excluded(dict.fromkeys(known), fields)
    kept = {name: None for name in kept if not (begins_late and name in OF_THE_CHAIN)}
    defaults = {one.name: one.default for one in dataclasses.fields(cast(Any, base))}
    reset = {name: defaults[name] for name in known if name not in kept or name in fields and fields[name] is None}
    given = {name: value for name, value in fields.items() if value is not None}
    return dataclasses.replace(cast(Any, base), **(reset | given)) if reset or given else base


def _checked(name: str, value: Any) -> Any:
    """Return a value of a strategy's setting as the field holds it.  Raises SettingError."""
    cls = STRATEGIES[takers(name)[0]]
    about = next(one.metadata for one in dataclasses.fields(cast(Any, cls)) if one.name == name)
    if not about["static"] and not isinstance(value, Real | str):
        return value  # a leaf of a pytree may be anything
    return about["setting"].checked(name, value)
