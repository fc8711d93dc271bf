"""Tables of the reference's yaml files, read safely; an error names the place in the file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ...errors import ConfigError

Choice = TypeVar("Choice")


class _Loader(yaml.SafeLoader):
    """Plain yaml, and the one tag of the reference's files."""


def _tuple(loader: _Loader, node: yaml.SequenceNode) -> tuple[Any, ...]:
    return tuple(loader.construct_sequence(node, deep=True))


_Loader.add_constructor("tag:yaml.org,2002:python/tuple", _tuple)


class YamlTable:
    """A table of a yaml file, with its place in the file for errors."""

    def __init__(self, values: Any, where: str):
        if not isinstance(values, Mapping):
            raise ConfigError(f"{where} is {values!r}; a table is expected")
        self.values, self.where = values, where

    @classmethod
    def read(cls, path: str | Path) -> YamlTable:
        """Read a file; nothing in it is executed.  Raises ConfigError if it is no readable yaml table."""
        try:
            values = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_Loader)  # a SafeLoader
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"{path} cannot be read: {reason}; give the reference's yaml file") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(f"{path} is not a yaml file of the reference: {reason}") from None
        return cls(values, str(path))

    def child(self, *names: str) -> YamlTable:
        """Return a table inside this one.  Raises ConfigError if it is absent."""
        table = self
        for name in names:
            if name not in table.values:
                has = ", ".join(map(str, table.values)) or "nothing"
                raise ConfigError(f"{table.where} has no {name!r}; it has {has}")
            table = YamlTable(table.values[name], f"{table.where}.{name}")
        return table

    def maybe(self, *names: str) -> YamlTable:
        """Return a table inside this one, empty if it is absent."""
        table = self
        for name in names:
            table = YamlTable(table.values.get(name) or {}, f"{table.where}.{name}")
        return table

    @property
    def target(self) -> str:
        """The name of the class that the table configures, without its module."""
        return str(self.values.get("target", "")).rsplit(".", 1)[-1]

    def choose(self, name: str, choices: Mapping[str, Choice]) -> Choice:
        """Return the choice that a value (or ``target``) stands for.  Raises ConfigError for another value."""
        value = self.target if name == "target" else self.values[name]
        if value not in choices:
            raise ConfigError(f"{self.where}.{name} is {value!r}; supported: {', '.join(choices)}")
        return choices[value]

    def take(self, section: dict[str, Any], names: Mapping[str, str], read: Callable[[Any], Any]) -> None:
        """Put the values that are there and not null into ``section``.  Raises ConfigError for one that cannot be read.

        Args:
            section: fields of a config.
            names: our field: the table's name for it.
            read: conversion of a value.
        """
        for ours, theirs in names.items():
            if self.values.get(theirs) is not None:
                try:
                    section[ours] = read(self.values[theirs])
                except (TypeError, ValueError):
                    raise ConfigError(
                        f"{self.where}.{theirs} is {self.values[theirs]!r}, which cannot be read"
                    ) from None


def sides(value: Any) -> tuple[int, int]:
    """Read a height and a width, given as two numbers or as one for both."""
    height, width = value if isinstance(value, list | tuple) else (value, value)
    return int(height), int(width)


def side(value: Any) -> int:
    """Read the side of a square, given as one number or as two that are equal."""
    height, width = sides(value)
    if height != width:
        raise ValueError(f"{value} is not square")
    return height


def square(length: Any) -> tuple[int, int]:
    """Read a number of tokens as the sides of a square."""
    edge = math.isqrt(int(length))
    if edge * edge != int(length):
        raise ValueError(f"{length} is not a square")
    return edge, edge
