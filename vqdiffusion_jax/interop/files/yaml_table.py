"""Tables of the reference's yaml files, read safely; an error names the place in the file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ...errors import ConfigError, brief, shown
from ...user_files import read_text

MOST_BYTES = 2**18
MOST_NODES = 20_000  # values, with those that aliases stand for
MOST_ALIASES = 20
DEEPEST = 30
Choice = TypeVar("Choice")


class _Loader(yaml.SafeLoader):
    """Plain yaml within bounds, and the one tag of the reference's files.

    Raises YAMLError for what is larger or deeper than any configuration, before anything is constructed: aliases in
    aliases ("a billion laughs") stand for more values than memory holds.
    """

    def __init__(self, text: str):
        super().__init__(text)
        self._nodes = self._aliases = self._depth = 0
        self._anchored: dict[str, int] = {}  # anchor: the values that it stands for

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event, before = self.peek_event(), self._nodes
        if isinstance(event, yaml.AliasEvent):
            self._aliases += 1
            self._nodes += self._anchored.get(event.anchor, MOST_NODES)  # an anchor inside itself is not known yet
        self._nodes += 1
        self._depth += 1
        if self._aliases > MOST_ALIASES or self._nodes > MOST_NODES or self._depth > DEEPEST:
            raise yaml.YAMLError(
                f"it has more than {MOST_NODES} values, {MOST_ALIASES} aliases or {DEEPEST} levels, or contains itself"
            )
        node = super().compose_node(parent, index)
        self._depth -= 1
        if not isinstance(event, yaml.AliasEvent) and event.anchor is not None:
            self._anchored[event.anchor] = self._nodes - before
        return node


def _tuple(loader: _Loader, node: yaml.SequenceNode) -> tuple[Any, ...]:
    return tuple(loader.construct_sequence(node, deep=True))


_Loader.add_constructor("tag:yaml.org,2002:python/tuple", _tuple)


class YamlTable:
    """A table of a yaml file, with its place in the file for errors."""

    def __init__(self, values: Any, where: str):
        if not isinstance(values, Mapping):
            raise ConfigError(f"{where} is {shown(values)}; a table is expected")
        self.values, self.where = values, where

    @classmethod
    def read(cls, path: str | Path) -> YamlTable:
        """Read a file; nothing in it is executed.  Raises ConfigError if it is no readable yaml table."""
        try:
            values = yaml.load(read_text(path, most=MOST_BYTES), Loader=_Loader)  # a SafeLoader
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"{path} cannot be read: {reason}; give the reference's yaml file") from None
        except Exception as error:  # the library's constructors raise anything for odd numbers, dates and keys
            reason = brief(error)
            raise ConfigError(f"{path} is not a yaml file of the reference: {reason}") from None
        return cls(values, str(path))

    def child(self, *names: str) -> YamlTable:
        """Return a table inside this one.  Raises ConfigError if it is absent."""
        table = self
        for name in names:
            if name not in table.values:
                has = brief(", ".join(map(shown, table.values)) or "nothing")
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
        target = self.values.get("target", "")
        return target.rsplit(".", 1)[-1] if isinstance(target, str) else shown(target)

    def choose(self, name: str, choices: Mapping[str, Choice]) -> Choice:
        """Return the choice that a value (or ``target``) stands for.  Raises ConfigError for another value."""
        value = self.target if name == "target" else self.values.get(name)
        if not isinstance(value, str) or value not in choices:
            raise ConfigError(f"{self.where}.{name} is {shown(value)}; supported: {', '.join(choices)}")
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
                except (TypeError, ValueError, OverflowError, AttributeError, LookupError, ZeroDivisionError):
                    raise ConfigError(
                        f"{self.where}.{theirs} is {shown(self.values[theirs])}, which cannot be read"
                    ) from None


def sides(value: Any) -> tuple[int, int]:
    """Read a height and a width, given as two numbers or as one for both."""
    height, width = value if isinstance(value, list | tuple) else (value, value)
    return int(height), int(width)


def side(value: Any) -> int:
    """Read the side of a square, given as one number or as two that are equal."""
    height, width = sides(value)
    if height != width:
        raise ValueError(f"{shown(value)} is not square")
    return height


def square(length: Any) -> tuple[int, int]:
    """Read a number of tokens as the sides of a square."""
    edge = math.isqrt(int(length))
    if edge * edge != int(length):
        raise ValueError(f"{length} is not a square")
    return edge, edge
