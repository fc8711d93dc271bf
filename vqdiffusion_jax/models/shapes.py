"""Keys for the initialisation of a network, and its shapes without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax

Network = TypeVar("Network")


class Keys:
    """In place of ``nnx.Rngs(seed)``, with the same numbers: a key, split off anew each time it is asked for.

    Flax counts in an array, which in a trace is a traced one; to update it, flax asks for its sharding, and JAX searches the
    whole trace for an answer.  That takes several times as long as finding a network's shapes; an int takes nothing.
    """

    def __init__(self, seed: int | jax.Array):
        self._key = jax.random.key(seed) if isinstance(seed, int) else seed
        self._count = 0

    def params(self) -> jax.Array:
        """The next key."""
        self._count += 1
        return jax.random.fold_in(self._key, self._count - 1)


def shapes_of(network: Callable[..., Network], *arguments: Any, **options: Any) -> Network:
    """``network(*arguments, **options, rngs=...)`` with ``jax.ShapeDtypeStruct`` in place of every array: nothing is computed."""
    return jax.eval_shape(lambda: network(*arguments, **options, rngs=Keys(0)))
