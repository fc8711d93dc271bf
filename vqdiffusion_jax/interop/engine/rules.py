"""Lines of a key table: a foreign key, our parameter, and the change of layout between them.

Every change of layout has an inverse, so that one table reads a foreign file and writes one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

LAYER = "layer"  # the group that indexes the leading axis of stacked layers


@dataclass(frozen=True)
class Transform:
    """A change of layout: from one foreign array to one or more of ours, and back."""

    name: str
    forward: Callable[[np.ndarray], tuple[np.ndarray, ...]]
    inverse: Callable[[tuple[np.ndarray, ...]], np.ndarray]


def _one(name: str, forward: Callable, inverse: Callable) -> Transform:
    return Transform(name, lambda a: (forward(a),), lambda parts: inverse(parts[0]))


def _axes(array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    if array.ndim != len(axes):
        raise ValueError(f"has {array.ndim} axes where {len(axes)} are expected")
    return array.transpose(axes)


def _drop_spatial(array: np.ndarray) -> np.ndarray:
    if array.ndim != 4 or array.shape[2:] != (1, 1):
        raise ValueError(f"has shape {array.shape} where (out, in, 1, 1) is expected")
    return array[:, :, 0, 0].T


def _drop_first(array: np.ndarray) -> np.ndarray:
    if array.ndim == 0 or array.shape[0] != 1:
        raise ValueError(f"has shape {array.shape} where a leading axis of 1 is expected")
    return array[0]


as_is = _one("as is", lambda a: a, lambda a: a)
transpose = _one("(out, in) -> (in, out)", lambda a: _axes(a, (1, 0)), lambda a: _axes(a, (1, 0)))
conv_kernel = _one("OIHW -> HWIO", lambda a: _axes(a, (2, 3, 1, 0)), lambda a: _axes(a, (3, 2, 0, 1)))
pointwise_kernel = _one("1x1 OIHW -> (in, out)", _drop_spatial, lambda a: _axes(a, (1, 0))[:, :, None, None])
squeeze_first = _one("(1, ...) -> (...)", _drop_first, lambda a: a[None])


def split(parts: int, then: Transform = as_is) -> Transform:
    """Split the rows of a fused layer (in_proj) into ``parts`` arrays, and change the layout of each by ``then``."""

    def forward(array: np.ndarray) -> tuple[np.ndarray, ...]:
        if array.ndim == 0 or array.shape[0] % parts:
            raise ValueError(f"has shape {array.shape}, whose rows do not split into {parts}")
        return tuple(then.forward(piece)[0] for piece in np.split(array, parts))

    def inverse(pieces: tuple[np.ndarray, ...]) -> np.ndarray:
        return np.concatenate([then.inverse((piece,)) for piece in pieces])

    return Transform(f"split in {parts}, {then.name}", forward, inverse)


def key(template: str) -> str:
    """Return the pattern of a literal key in which each ``{name}`` stands for a whole number."""
    pieces = re.split(r"\{(\w+)\}", template)
    return "".join(rf"(?P<{piece}>\d+)" if i % 2 else re.escape(piece) for i, piece in enumerate(pieces))


@dataclass(frozen=True)
class Rule:
    r"""A foreign key and our parameter, or parameters, for it.

    Attributes:
        pattern: regular expression that matches the whole foreign key; ``key`` writes one.  A group named ``layer``
            is the index into the leading axis of stacked layers.
        target: dotted path of our parameter, in which ``{name}`` is replaced by the group of that name; several paths
            where the transform gives several arrays.
        transform: the change of layout; None leaves the array as it is.
    """

    pattern: str
    target: str | tuple[str, ...]
    transform: Transform | None = None

    @cached_property
    def regex(self) -> re.Pattern:
        return re.compile(self.pattern)

    @property
    def targets(self) -> tuple[str, ...]:
        return (self.target,) if isinstance(self.target, str) else self.target

    @property
    def layout(self) -> Transform:
        return self.transform or as_is

    @property
    def stacked(self) -> bool:
        return LAYER in self.regex.groupindex

    @cached_property
    def target_regex(self) -> re.Pattern:
        """A pattern of the first target's paths, which finds the groups in a path of ours."""
        pieces = re.split(r"\{(\w+)\}", self.targets[0])
        return re.compile(
            "".join(rf"(?P<{piece}>\w+)" if i % 2 else re.escape(piece) for i, piece in enumerate(pieces))
        )

    @cached_property
    def key_template(self) -> str:
        """The foreign key as a ``str.format`` template.  Raises ValueError if the pattern is not of one literal key."""
        template = re.sub(r"\(\?P<(\w+)>(?:\\.|[^()\\])*\)", r"{\1}", self.pattern)
        literal = re.sub(r"\\(.)", "", re.sub(r"\{\w+\}", "", template))
        if re.search(r"[][(){}|*+?^$.]", literal):
            raise ValueError(
                f"the pattern {self.pattern!r} cannot be written back: it is not a literal key with named groups"
            )
        return re.sub(r"\\(.)", r"\1", template)

    def foreign_key(self, groups: dict[str, str], layer: int | None) -> str:
        """Return the key to write, given the groups in our path.  Raises ValueError if they do not determine it."""
        try:
            return self.key_template.format(**groups, **({} if layer is None else {LAYER: layer}))
        except KeyError as absent:
            raise ValueError(
                f"the pattern {self.pattern!r} cannot be written back: our path does not tell its {absent}"
            ) from None


@dataclass(frozen=True)
class Ignore:
    """A pattern of foreign keys that are left out on purpose, and the reason."""

    pattern: str
    reason: str

    @cached_property
    def regex(self) -> re.Pattern:
        return re.compile(self.pattern)


def dense(foreign: str, ours: str) -> list[Rule]:
    """Rules of a linear layer: ``foreign.weight`` (out, in) and ``foreign.bias`` to an nnx.Linear."""
    return [Rule(key(f"{foreign}.weight"), f"{ours}.kernel", transpose), Rule(key(f"{foreign}.bias"), f"{ours}.bias")]


def conv(foreign: str, ours: str) -> list[Rule]:
    """Rules of a convolution: ``foreign.weight`` OIHW and ``foreign.bias`` to an nnx.Conv."""
    return [Rule(key(f"{foreign}.weight"), f"{ours}.kernel", conv_kernel), Rule(key(f"{foreign}.bias"), f"{ours}.bias")]


def pointwise(foreign: str, ours: str) -> list[Rule]:
    """Rules of a 1x1 convolution: ``foreign.weight`` (out, in, 1, 1) and ``foreign.bias`` to an nnx.Linear."""
    return [
        Rule(key(f"{foreign}.weight"), f"{ours}.kernel", pointwise_kernel),
        Rule(key(f"{foreign}.bias"), f"{ours}.bias"),
    ]


def norm(foreign: str, ours: str) -> list[Rule]:
    """Rules of a norm: ``foreign.weight`` and ``foreign.bias`` to an affine nnx.LayerNorm or nnx.GroupNorm."""
    return [Rule(key(f"{foreign}.weight"), f"{ours}.scale"), Rule(key(f"{foreign}.bias"), f"{ours}.bias")]


def embedding(foreign: str, ours: str) -> list[Rule]:
    """Return the rule of an embedding: ``foreign.weight`` (rows, width) to an nnx.Embed."""
    return [Rule(key(f"{foreign}.weight"), f"{ours}.embedding")]
