"""Fields of settings: a dataclass field that knows its type, its bounds and its help, for every face that shows it.

Flags of the command line, inputs of the page, JSON files and the checks of a call in Python are all made from these.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, cast

import jax
import numpy as np

from ..errors import SettingError
from ..user_files import fault_of_text

# Of the arrays that settings become, unless a field allows more.
_LARGEST: dict[Any, float] = {int: 2**31 - 1, float: 3.4028235e38}
_TYPES = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text"}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The description of one field.

    type: int, float, bool or str, of each value; None for what only Python can give, such as an array.
    help: one sentence for people.
    many: the field holds a tuple of values.  count: their number, None for any.  repeated: the flag is repeated, one
    value each, instead of holding a list with commas.
    choices: the texts allowed.  least, most: bounds, included.  above: a lower bound, excluded.
    default_help: the default in words, where the field's default is None.
    formerly: the field's name in older commands and files.
    group: the heading under which the field is shown.
    check: a function that returns the value as the field holds it or raises SettingError, in place of all checks above.
    """

    type: type | None
    help: str
    many: bool = False
    count: int | None = None
    repeated: bool = False
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    above: float | None = None
    default_help: str = ""
    formerly: str = ""
    group: str = ""
    check: Callable[[Any], Any] | None = None

    @property
    def allowed(self) -> str:
        """The allowed values, in words that follow "it must be"."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        one = _TYPES[self.type or str]
        if self.above is not None:
            one += f" above {self.above:g}" + ("" if self.most is None else f", up to {self.most:g}")
        elif self.least is not None:
            least, most = f"{self.least:.16g}", "" if self.most is None else f"{self.most:.16g}"
            one += f" from {least} to {most}" if most else f" of at least {least}"
        return f"{self.count or 'one or more'} values, each {one}" if self.many else one

    def checked(self, name: str, value: Any) -> Any:
        """Return ``value`` as the field holds it.

        Raises SettingError that names the field, the value and what is allowed.
        """
        if self.check is not None:
            return self.check(value)
        if self.type is None and not self.choices:
            return value
        if not self.many:
            return self._one(name, value, value)
        listed = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
        values = tuple(value) if listed else (value,)
        if not values or self.count is not None and len(values) != self.count:
            raise self._refused(name, value)
        return tuple(self._one(name, one, value) for one in values)

    def _one(self, name: str, value: Any, given: Any) -> Any:
        if isinstance(value, jax.Array) and self.type is float:
            return value  # traced data, which only the device knows
        if isinstance(value, np.ndarray | np.generic | jax.Array) and value.ndim == 0:
            value = value.item()
        if not self._allows(value):
            raise self._refused(name, given)
        if isinstance(value, str) and (fault := fault_of_text(value)) is not None:
            told = f"{{{name}}} has {{fault}}: {{value!r}}; give it as text in UTF-8"
            raise SettingError(told, value=value, fault=fault)
        return float(value) if self.type is float else value

    def _allows(self, value: Any) -> bool:
        if self.choices:
            return isinstance(value, str) and value in self.choices
        if self.type in (str, bool):
            return isinstance(value, self.type)
        if isinstance(value, bool) or not isinstance(value, Integral if self.type is int else Real):
            return False
        number = cast(float, value)  # numbers.Real declares no order
        return (
            (self.most == float("inf") or abs(number) <= _LARGEST[self.type])
            and (self.least is None or number >= self.least)
            and (self.most is None or number <= self.most)
            and (self.above is None or number > self.above)
        )

    def _refused(self, name: str, value: Any) -> SettingError:
        allowed = self.allowed
        if self.type is int and self.most is None and isinstance(value, Integral) and int(value) > _LARGEST[int]:
            allowed += ", below 2**31"
        return SettingError(f"{{{name}}} is {{value!r}}; it must be {{allowed}}", value=value, allowed=allowed)


def setting(default: Any = None, *, static: bool = True, plan_only: bool = False, **about: Any) -> Any:
    """Return a dataclass field that ``Setting(**about)`` describes.

    static: in a strategy, the field shapes the program, so that another value compiles anew; a field that is not
    static is traced data.
    plan_only: in a strategy, ``plan`` alone reads the field; ``step`` sees the default, and another value compiles
    nothing.
    """
    metadata = {"setting": Setting(**about), "static": static, "plan_only": plan_only}
    return dataclasses.field(default=default, metadata=metadata)


def settings_of(cls: Any) -> dict[str, Setting]:
    """Return the described fields of a dataclass or of an instance, in order, by name."""
    return {field.name: field.metadata["setting"] for field in dataclasses.fields(cls) if "setting" in field.metadata}


def check_fields(instance: Any) -> None:
    """Replace every described field of a frozen dataclass by its checked value; None stays where it is the default.

    Raises SettingError for the first value that is not allowed.
    """
    for field in dataclasses.fields(instance):
        name, about = field.name, field.metadata.get("setting")
        value = getattr(instance, name)
        if about is None or not field.metadata["static"] and not isinstance(value, Real | str | None):
            continue  # a leaf of a pytree may be anything
        if value is not None:
            object.__setattr__(instance, name, about.checked(name, value))
        elif field.default is not None:
            raise SettingError(f"{{{name}}} is None; it must be {{allowed}}", value=None, allowed=about.allowed)


def default_in_words(cls: Any, name: str) -> str:
    """Return the default of a described field for people, "" if there are no words for it.

    cls: a dataclass; of an instance, the value that its field has.
    """
    field = next(field for field in dataclasses.fields(cls) if field.name == name)
    value = field.default if isinstance(cls, type) else getattr(cls, name)
    if value is None:
        return field.metadata["setting"].default_help
    return str(value).lower() if isinstance(value, bool) else str(value)
