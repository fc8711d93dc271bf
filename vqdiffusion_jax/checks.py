"""Checks of a config's fields: each raises ConfigError, naming class, field, value and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any

from .errors import ConfigError, shown
from .random_keys import MAX_SEED
from .user_files import fault_of_text

MOST_AT_ONCE = 4096  # threads, processes or batches that a run has at once


def check(config: Any, condition: bool, name: str, allowed: str) -> None:
    """Raise ConfigError about the field ``name`` unless ``condition`` holds; ``allowed`` tells what it must be."""
    if not condition:
        raise ConfigError(f"{type(config).__name__}.{name} is {shown(getattr(config, name))}; {allowed}")


def one_of(config: Any, name: str, allowed: Iterable[str]) -> None:
    """Raise ConfigError unless the field is one of ``allowed``."""
    check(config, getattr(config, name) in allowed, name, f"allowed: {', '.join(allowed)}")


def whole(config: Any, least: int, *names: str, most: int = MAX_SEED) -> None:
    """Raise ConfigError unless the fields are whole numbers from ``least`` to ``most``; they become Python's own."""
    for name in names:
        value = getattr(config, name)
        good = isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least
        check(config, good, name, f"it must be a whole number of at least {least}")
        limit = "2**63 - 1" if most == MAX_SEED else most
        check(config, value <= most, name, f"it must be a whole number from {least} to {limit}")
        if not isinstance(value, int):  # one of numpy's
            object.__setattr__(config, name, int(value))


def number(config: Any, low: float, high: float, *names: str) -> None:
    """Raise ConfigError unless the fields are numbers from ``low`` to ``high``, both included."""
    for name in names:
        value = getattr(config, name)
        check(config, _is_number(value) and low <= value <= high, name, f"it must be a number from {low:g} to {high:g}")


def fraction(config: Any, *names: str) -> None:
    """Raise ConfigError unless the fields are numbers in [0, 1)."""
    for name in names:
        value = getattr(config, name)
        check(config, _is_number(value) and 0.0 <= value < 1.0, name, "it must lie in [0, 1)")


def texts(config: Any, *names: str) -> None:
    """Raise ConfigError unless the fields are sequences of texts that UTF-8 can hold."""
    for name in names:
        value = getattr(config, name)
        listed = isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)
        check(config, listed, name, "it must be a sequence of texts")
        for text in value:
            if (fault := fault_of_text(text)) is not None:
                raise ConfigError(
                    f"{type(config).__name__}.{name} has {shown(text)}, with {fault}; give it as text in UTF-8"
                )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
