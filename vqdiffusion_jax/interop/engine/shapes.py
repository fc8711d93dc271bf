"""Sizes of a network, read from the keys and shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...errors import ConversionError, and_more


def shape_of(tensors: Mapping[str, Any], name: str, ndim: int) -> tuple[int, ...]:
    """Return a tensor's shape.  Raises ConversionError if it is absent or does not have ``ndim`` axes."""
    shape = tuple(_tensor(tensors, name).shape)
    if len(shape) != ndim:
        raise ConversionError(f"{name} has shape {shape}; {ndim} axes are expected")
    return shape


def rows(tensors: Mapping[str, Any], name: str) -> int:
    """Return the length of a tensor's first axis.  Raises ConversionError if the tensor is absent."""
    return _tensor(tensors, name).shape[0]


def indices(tensors: Mapping[str, Any], prefix: str) -> list[int]:
    """Return the numbers that follow ``prefix`` in any key, in order."""
    found = re.compile(re.escape(prefix) + r"(\d+)(?:\.|$)")
    return sorted({int(match.group(1)) for name in tensors if (match := found.match(name))})


def count(tensors: Mapping[str, Any], prefix: str) -> int:
    """Return how many entries are numbered after ``prefix``.  Raises ConversionError unless they are 0, 1, 2, ..."""
    numbers = indices(tensors, prefix)
    if not numbers or numbers != list(range(len(numbers))):
        found = numbers or "nothing"
        raise ConversionError(f"the file numbers its {prefix}N as {found}; 0, 1, 2, ... without gaps is expected")
    return len(numbers)


def _tensor(tensors: Mapping[str, Any], name: str) -> Any:
    if name not in tensors:
        raise ConversionError(f"the file lacks {name}, so it is not of the expected kind (it has {_sample(tensors)})")
    return tensors[name]


def _sample(tensors: Mapping[str, Any]) -> str:
    names = list(tensors)
    return and_more(names[:4], len(names)) if names else "no tensors"
