"""The shapes of a network without its numbers, and cheap keys for its initialisation."""

from __future__ import annotations

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

    Nothing is computed.
    """
    return jax.eval_shape(lambda: network(*arguments, **options, rngs=make_rngs(0)))


def make_rngs(seed: int | jax.Array) -> nnx.Rngs:
    """Return ``Keys(seed)`` under the type that constructors of layers ask for, of which they use ``params`` alone."""
    return cast(nnx.Rngs, Keys(seed))
