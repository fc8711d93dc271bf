"""The shapes of a network without its numbers, and cheap keys for its initialisation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from numbers import Integral
from typing import Any, TypeVar, cast

import jax
from flax import nnx

from ..random_keys import key_of

Network = TypeVar("Network")


class Keys:
    """A stand-in for ``nnx.Rngs(seed)`` with the same numbers: every call of ``params`` gives another key.

    Flax counts the calls in an array, which in a trace is a traced one.  To update it, flax asks for its sharding, and
    JAX searches the whole trace for an answer: several times as long as finding a network's shapes takes.  An int
    costs nothing.
    """

    def __init__(self, seed: int | jax.Array):
        self._key = key_of(seed) if isinstance(seed, Integral) else seed
        self._count = 0

    def params(self) -> jax.Array:
        """Return the next key."""
        self._count += 1
        return jax.random.fold_in(self._key, self._count - 1)


def shapes_of(network: Callable[..., Network], *arguments: Any, **options: Any) -> Network:
    """Return ``network(*arguments, **options, rngs=...)`` with a ``jax.ShapeDtypeStruct`` in place of every array.

    Nothing is computed.  The shapes of a class are found once for equal arguments, as Flax builds even the smallest
    model's layers for a fifth of a second; each call returns modules of its own.
    """
    asked = (network, arguments, tuple(sorted(options.items())))
    if isinstance(network, type) and _has_hash(asked):
        leaves, structure = _found(asked, repr(asked), jax.config.read("jax_enable_x64"))
        return jax.tree.unflatten(structure, leaves)
    return _shapes(*asked)


@functools.lru_cache(maxsize=64)
def _found(asked: tuple, spelled: str, wide: bool) -> tuple[list, Any]:
    """Return leaves and structure.

    spelled: tells 1, 1.0 and True apart, which are equal.  wide: whether 64-bit types are on.
    """
    return jax.tree.flatten(_shapes(*asked))


def _shapes(network: Callable[..., Any], arguments: tuple, options: tuple) -> Any:
    return jax.eval_shape(lambda: network(*arguments, **dict(options), rngs=make_rngs(0)))


def _has_hash(asked: tuple) -> bool:
    try:
        hash(asked)
    except TypeError:
        return False
    return True


def make_rngs(seed: int | jax.Array) -> nnx.Rngs:
    """Return ``Keys(seed)`` under the type that constructors of layers ask for, of which they use ``params`` alone."""
    return cast(nnx.Rngs, Keys(seed))
