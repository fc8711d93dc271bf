"""Where the randomness of sampling comes from: a key an image, or draws recorded elsewhere.

Both classes answer the same two questions, so a strategy never knows which it
holds: the Gumbel noise of draw ``i`` (one value a class and position, for one
categorical draw) and the Exponential(1) noise of draw ``i`` (one a position,
for one choice of positions without replacement).
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import jax
import jax.numpy as jnp

from ..array_types import AnyFloat, AnyInt, Key
from ..diffusion.transitions import gumbel_from_uniform
from . import random_bits

_CATEGORICAL, _POSITIONS = 0, 1  # separate streams, so that a draw of one kind never repeats bits of the other


def image_keys(seed: int | jax.Array, first: int, count: int) -> Key:
    """Keys of images ``first .. first + count - 1`` of a call: fold_in(key(seed), index).

    seed: a whole number or a typed key.  Returns (count,) typed keys.  Image i
    has the same key whatever batch it is drawn in.
    """
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(_root_key(seed), first + jnp.arange(count))


def _root_key(seed: int | jax.Array) -> jax.Array:
    """The key of a seed; all of the seed's bits count, of which ``jax.random.key`` alone reads the lowest 32."""
    if isinstance(seed, jax.Array) and jnp.issubdtype(seed.dtype, jax.dtypes.prng_key):
        return seed
    if isinstance(seed, Integral) and seed >= 2**32:
        return jax.random.fold_in(jax.random.key(int(seed) & 0xFFFFFFFF), int(seed) >> 32)
    return jax.random.key(seed)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class KeyNoise:
    """Fresh noise.  keys: (batch,) typed keys, one an image.

    Row b of every draw depends on keys[b] and the draw's index alone, so a
    picture does not depend on its neighbours (with JAX's default threefry
    keys; "rbg" keys do not promise this under vmap).
    """

    keys: jax.Array

    @property
    def num_draws(self) -> int | None:
        """How many draws there are; None for no limit."""
        return None

    def gumbel(self, draw: int | AnyInt, shape: tuple[int, int, int]) -> AnyFloat:
        """Standard Gumbel noise of draw number ``draw``: shape (batch, length, classes) float32."""
        threefry = str(jax.random.key_impl(self.keys)) == "threefry2x32"
        return self._rows(random_bits.gumbel if threefry else jax.random.gumbel, _CATEGORICAL, draw, shape)

    def exponential(self, draw: int | AnyInt, shape: tuple[int, int]) -> AnyFloat:
        """Exponential(1) noise of draw number ``draw``: shape (batch, length) float32."""
        return self._rows(jax.random.exponential, _POSITIONS, draw, shape)

    def _rows(self, distribution, stream: int, draw, shape) -> jax.Array:
        if self.keys.shape != shape[:1]:
            raise ValueError(
                f"KeyNoise.keys has shape {self.keys.shape} but the tokens have batch {shape[0]}; give one key an image"
            )

        def row(key):
            return distribution(jax.random.fold_in(jax.random.fold_in(key, draw), stream), shape[1:])

        return jax.vmap(row)(self.keys)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RecordedNoise:
    """Noise recorded elsewhere, so that a run replays token by token.

    uniforms: (draws, batch, length, num_codes + 1) float32 in [0, 1); draw i is
    turned into -ln(-ln(u + 1e-30) + 1e-30).
    exponentials: (draws, batch, length) float32, or None where no strategy
    that chooses positions is replayed.
    """

    uniforms: jax.Array
    exponentials: jax.Array | None = None

    @property
    def num_draws(self) -> int | None:
        """How many draws there are."""
        return self.uniforms.shape[0]

    def gumbel(self, draw: int | AnyInt, shape: tuple[int, int, int]) -> AnyFloat:
        """Recorded Gumbel noise of draw number ``draw``: shape (batch, length, classes) float32."""
        self._check("uniforms", self.uniforms, shape)
        return gumbel_from_uniform(jnp.asarray(self.uniforms)[draw])

    def exponential(self, draw: int | AnyInt, shape: tuple[int, int]) -> AnyFloat:
        """Recorded Exponential(1) noise of draw number ``draw``: shape (batch, length) float32."""
        if self.exponentials is None:
            raise ValueError(
                "RecordedNoise.exponentials is None but the strategy chooses positions; record (draws, batch, length) of them"
            )
        self._check("exponentials", self.exponentials, shape)
        return jnp.asarray(self.exponentials)[draw]

    @staticmethod
    def _check(name: str, recorded: jax.Array, shape: tuple[int, ...]) -> None:
        if tuple(recorded.shape[1:]) != tuple(shape):
            raise ValueError(
                f"RecordedNoise.{name} holds draws of shape {tuple(recorded.shape[1:])} but the sampler needs {tuple(shape)}"
            )


Noise = KeyNoise | RecordedNoise
