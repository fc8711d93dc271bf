"""The noise of sampling: from one key a picture, or recorded elsewhere.

Both classes give the Gumbel noise of draw i, one value a position and class, for a categorical draw, and its
Exponential(1) noise, one a position, for a choice of positions without replacement.  A strategy does not know which
class it holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import AnyFloat, AnyInt, Key
from ..diffusion.schedule import host_values
from ..diffusion.transitions import gumbel_from_uniform
from ..programs import padded_length
from ..random_keys import key_of
from . import random_bits

_CATEGORICAL, _POSITIONS = 0, 1  # streams: a draw of one kind never repeats bits of the other


def image_keys(seed: int | jax.Array, first: int, count: int) -> Key:
    """Return the keys of pictures first .. first + count - 1 of a call, fold_in(key(seed), index): (count,) typed keys.

    seed: a whole number or a typed key.  The key of picture i does not depend on its batch.
    """
    # Filled up, so that few numbers of pictures are compiled; fold_in counts modulo 2**32.
    numbers = np.arange(first, first + padded_length(count)).astype(np.uint32)
    return keys_at(_folded(_root_key(seed), numbers), np.arange(count))


@jax.jit
def _folded(key: jax.Array, numbers: jax.Array) -> jax.Array:
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, numbers)


def keys_at(keys: Key, rows: np.ndarray) -> Key:
    """Return ``keys[rows]`` of typed keys (n,), chosen on the host: a device would compile each shape."""
    data = host_values(jax.random.key_data(keys))
    if data is None:
        return keys[rows]
    return jax.random.wrap_key_data(jax.device_put(data[rows]), impl=jax.random.key_impl(keys))


def _root_key(seed: int | jax.Array) -> jax.Array:
    """Return the key of a seed, or a typed key as it is."""
    if isinstance(seed, jax.Array) and jnp.issubdtype(seed.dtype, jax.dtypes.prng_key):
        return seed
    return key_of(seed)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class KeyNoise:
    """Fresh noise.  keys: (batch,) typed keys, one a picture.

    Row b of every draw depends on keys[b] and the draw's number alone, so a picture does not depend on its neighbours.
    That holds for JAX's default threefry keys; "rbg" keys do not promise it under vmap.
    """

    keys: jax.Array

    @property
    def num_draws(self) -> int | None:
        """Number of draws; None for no limit."""
        return None

    def gumbel(self, draw: int | AnyInt, shape: tuple[int, ...]) -> AnyFloat:
        """Return the standard Gumbel noise of draw number ``draw``: shape (batch, length, classes) float32."""
        threefry = str(jax.random.key_impl(self.keys)) == "threefry2x32"
        return self._rows(random_bits.gumbel if threefry else jax.random.gumbel, _CATEGORICAL, draw, shape)

    def exponential(self, draw: int | AnyInt, shape: tuple[int, ...]) -> AnyFloat:
        """Return the Exponential(1) noise of draw number ``draw``: shape (batch, length) float32."""
        return self._rows(jax.random.exponential, _POSITIONS, draw, shape)

    def _rows(self, distribution, stream: int, draw, shape) -> jax.Array:
        if self.keys.shape != shape[:1]:
            told = f"{self.keys.shape}, but the tokens have batch {shape[0]}; give one key a picture"
            raise ValueError(f"KeyNoise.keys has shape {told}")

        def row(key):
            return distribution(jax.random.fold_in(jax.random.fold_in(key, draw), stream), shape[1:])

        return jax.vmap(row)(self.keys)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RecordedNoise:
    """Noise recorded elsewhere, by which a run replays token for token.

    uniforms: (draws, batch, length, num_codes + 1) float32 in [0, 1), which become -ln(-ln(u + 1e-30) + 1e-30).
    exponentials: (draws, batch, length) float32, or None if the strategy chooses no positions.
    """

    uniforms: jax.Array
    exponentials: jax.Array | None = None

    @property
    def num_draws(self) -> int | None:
        """Number of draws."""
        return self.uniforms.shape[0]

    def gumbel(self, draw: int | AnyInt, shape: tuple[int, ...]) -> AnyFloat:
        """Return the Gumbel noise of draw number ``draw``: shape (batch, length, classes) float32."""
        self._check("uniforms", self.uniforms, shape)
        return gumbel_from_uniform(jnp.asarray(self.uniforms)[draw])

    def exponential(self, draw: int | AnyInt, shape: tuple[int, ...]) -> AnyFloat:
        """Return the Exponential(1) noise of draw number ``draw``: shape (batch, length) float32."""
        if self.exponentials is None:
            told = "the strategy chooses positions; record (draws, batch, length) of them"
            raise ValueError(f"RecordedNoise.exponentials is None but {told}")
        self._check("exponentials", self.exponentials, shape)
        return jnp.asarray(self.exponentials)[draw]

    @staticmethod
    def _check(name: str, recorded: jax.Array, shape: tuple[int, ...]) -> None:
        if tuple(recorded.shape[1:]) != tuple(shape):
            found = tuple(recorded.shape[1:])
            raise ValueError(f"RecordedNoise.{name} holds draws of shape {found} but the sampler needs {tuple(shape)}")


Noise = KeyNoise | RecordedNoise
