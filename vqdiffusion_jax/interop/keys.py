"""Sizes of a network as its keys and shapes tell them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import ConversionError


def shape_of(tensors: Mapping[str, Any], name: str, ndim: int) -> tuple[int, ...]:
    """Shape of a tensor that must be there.  Raises ConversionError if it is absent or has another number of axes."""
    if name not in tensors:
        raise ConversionError(f"the file lacks {name}, so it is not of the expected kind (it has {_sample(tensors)})")
    shape = tuple(tensors[name].shape)
    if len(shape) != ndim:
        raise ConversionError(f"{name} has shape {shape}; {ndim} axes are expected")
    return shape


def rows(tensors: Mapping[str, Any], name: str) -> int:
    """First axis of a tensor that must be there."""
    if name not in tensors:
        shape_of(tensors, name, 1)
    return tensors[name].shape[0]


def indices(tensors: Mapping[str, Any], prefix: str) -> list[int]:
    """The numbers that follow ``prefix`` in any key, in order."""
    found = re.compile(re.escape(prefix) + r"(\d+)(?:\.|$)")
    return sorted({int(match.group(1)) for name in tensors if (match := found.match(name))})


def count(tensors: Mapping[str, Any], prefix: str) -> int:
    """How many numbered entries follow ``prefix``.  Raises ConversionError unless they are 0, 1, ... without gaps."""
    numbers = indices(tensors, prefix)
    if not numbers or numbers != list(range(len(numbers))):
        raise ConversionError(
            f"the file numbers its {prefix}N as {numbers or 'nothing'}; 0, 1, 2, ... without gaps is expected"
        )
    return len(numbers)


def _sample(tensors: Mapping[str, Any]) -> str:
    names = list(tensors)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "") if names else "no tensors"
