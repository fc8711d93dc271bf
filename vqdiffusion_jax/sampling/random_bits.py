"""Threefry bits as plain arithmetic, which a compiler fuses into the operation that reads them.

The bits are those of ``jax.random.bits`` with its default ("threefry2x32") keys.  JAX lowers that as a loop over whole
arrays on a CPU and as a call on a GPU, so that the bits of a draw travel through memory, on a CPU forty times.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

# Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", table 1 and section 4.2.
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA


def threefry_2x32(key: tuple[jax.Array, jax.Array], high: jax.Array, low: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Apply the block cipher of 20 rounds: key words () and counter words of any shape to two words of that shape.

    All words are uint32.
    """
    words = (*key, key[0] ^ key[1] ^ jnp.uint32(PARITY))
    high, low = high + words[0], low + words[1]
    for group in range(5):
        for distance in ROTATIONS[group % 2]:
            high = high + low
            low = high ^ ((low << distance) | (low >> (32 - distance)))
        high = high + words[(group + 1) % 3]
        low = low + words[(group + 2) % 3] + jnp.uint32(group + 1)
    return high, low


def random_bits(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Return ``jax.random.bits(key, shape)``, uint32, for a threefry key () and up to 2**32 numbers."""
    if math.prod(shape) > 2**32:
        raise ValueError(f"random_bits: shape {shape} has more than 2**32 numbers; draw fewer at a time")
    position = jnp.zeros(shape, jnp.uint32)
    for axis, stride in enumerate(math.prod(shape[axis + 1 :]) for axis in range(len(shape))):
        position += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride)
    first_word, second_word = jax.random.key_data(key)
    first, second = threefry_2x32((first_word, second_word), jnp.zeros_like(position), position)
    return first ^ second


def gumbel(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Return ``jax.random.gumbel(key, shape)`` in float32: standard Gumbel noise from 23 bits a number."""
    tiny = jnp.finfo(jnp.float32).tiny
    mantissa = (random_bits(key, shape) >> 9) | jnp.uint32(0x3F800000)
    uniform = jax.lax.bitcast_convert_type(mantissa, jnp.float32) - 1.0
    return -jnp.log(-jnp.log(jnp.maximum(tiny, uniform * (1.0 - tiny) + tiny)))
