"""Keys for the initialisation of a network."""

from __future__ import annotations

import jax


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
