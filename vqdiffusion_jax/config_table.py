"""Configurations, which are frozen dataclasses, as tables of plain JSON types, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from .errors import ConfigError, brief, did_you_mean, shown


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config as plain JSON types; ``from_dict`` reads it back."""
    return dataclasses.asdict(config)


def from_dict(cls: type, values: Any, *, where: str = "") -> Any:
    """Return a ``cls`` from ``to_dict``'s output.

    where: the name of ``cls`` in messages.  Raises ConfigError naming any field that is unknown, missing or of a wrong
    type.
    """
    where = where or cls.__name__
    if not isinstance(values, dict):
        raise ConfigError(f"{where} is {shown(values)}; it must be a table of fields")
    hints = get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    if unknown := sorted(set(values) - set(fields), key=str):
        hint = did_you_mean(str(unknown[0]), fields)
        named = brief(", ".join(name if str(name).isidentifier() else shown(name) for name in unknown))
        raise ConfigError(f"{where} has unknown fields {named}{hint}; known: {', '.join(fields)}")
    required = {
        n for n, f in fields.items() if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    if missing := sorted(required - set(values)):
        raise ConfigError(f"{where} lacks {', '.join(missing)}")
    return cls(**{name: _from_json(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def _from_json(hint: Any, value: Any, where: str) -> Any:
    """Return ``value`` as the type that a field's annotation names.  Raises ConfigError if it is of another."""
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if value is None and NoneType in options:
        return None
    kind: Any = next(option for option in options if option is not NoneType)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return from_dict(kind, value, where=where)
    if get_origin(kind) is tuple:
        return _tuple_from_json(get_args(kind), value, where)
    what, types = _PLAIN.get(get_origin(kind) or kind, ("", object))
    if not isinstance(value, types) or isinstance(value, bool) and kind in (int, float):
        raise ConfigError(f"{where} is {shown(value)}; it must be {what}{' or null' if NoneType in options else ''}")
    if kind is float:
        return float(cast(float, value))
    return int(cast(int, value)) if kind is int else value


def _tuple_from_json(kinds: tuple, value: Any, where: str) -> tuple:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{where} is {shown(value)}; it must be a list")
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(value) != len(kinds):
        raise ConfigError(f"{where} is {shown(value)}; it must be a list of {len(kinds)}")
    return tuple(_from_json(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value)))


_PLAIN = {
    bool: ("true or false", bool),
    int: ("a whole number", Integral),
    float: ("a number", Real),
    str: ("a text", str),
    dict: ("a table", Mapping),
    Mapping: ("a table", Mapping),
}
