"""A part of a model (a codec, a text tower) as some file holds it, ready to be placed in a whole model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...paths import leaves_by_path
from .rules import Ignore, Rule, key


@dataclass(frozen=True)
class Part:
    """The tensors of a part, the table that places them, and the fields of the part's config that they tell."""

    fields: dict[str, Any]
    tensors: Mapping[str, Any]
    rules: Sequence[Rule]
    ignores: Sequence[Ignore] = ()
    notes: Sequence[str] = ()


def part_of_module(module: Any, fields: dict[str, Any], *, label: str, ours: str, without: Sequence[str] = ()) -> Part:
    """Return the part that a filled module is.

    Args:
        module: a module with arrays.
        fields: those of its config.
        label: put before our paths, for keys that name their origin.
        ours: path of the module in the whole model, with a dot at its end.
        without: paths in the module to leave out.
    """
    leaves = {path: np.asarray(leaf) for path, leaf in leaves_by_path(module).items() if path not in without}
    rules = [Rule(key(label + path), ours + path) for path in leaves]
    return Part(fields, {label + path: leaf for path, leaf in leaves.items()}, rules)
