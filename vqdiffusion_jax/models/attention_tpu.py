"""Attention as one Pallas kernel on a TPU: scores and softmax never leave the chip's fast memory.

Queries, keys and values are read as the projections make them, (batch, length, heads x head width), each head a slice
of the last axis, so that nothing is transposed or padded in memory, whatever the head width.  A turn holds a block of
queries and all keys of one sample, which bounds the size of the context; longer ones take XLA's form.
"""

from __future__ import annotations

import functools
from math import gcd

import jax
import jax.numpy as jnp

QUERIES_AT_ONCE = 256
LANES = 128  # the last axis of an array is laid out in pieces of this size
MEMORY = 2**26  # bytes of fast memory that a turn may take; it needs about half of it, compilers grant 16 or 32 MiB
MOST_NUMBERS = 2**21  # of the keys of one sample: 4 MiB in bfloat16, and as much for values, both held twice
DTYPE = jnp.bfloat16


def supports(query: jax.Array, key: jax.Array) -> bool:
    """Return whether the kernel takes these arrays (batch, length, heads, head width)."""
    _, length, heads, width = query.shape
    keys = key.shape[1]
    return (
        query.dtype == key.dtype == DTYPE
        and length % LANES == 0
        and (heads * width) % LANES == 0
        and keys * heads * width <= MOST_NUMBERS
    )


def fused(query: jax.Array, key: jax.Array, value: jax.Array, *, interpret: bool = False) -> jax.Array:
    """Return softmax(query key^T / sqrt(head width)) value of every head, (batch, length, heads, head width) each.

    Products are summed, and the softmax computed, in float32.  It has no gradient; ``attention`` takes XLA's form
    where it is differentiated.

    interpret: run as plain JAX, on any platform, for tests.
    """
    # Imported here, as it takes half a second, which few programs need.
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import tpu as pltpu

    batch, length, heads, width = query.shape
    features = heads * width
    rows = gcd(length, QUERIES_AT_ONCE)

    def by_sample(array: jax.Array) -> jax.Array:
        return array.reshape(*array.shape[:2], features)

    queries = pl.BlockSpec((1, rows, features), lambda sample, block: (sample, block, 0))
    context = pl.BlockSpec((1, key.shape[1], features), lambda sample, block: (sample, 0, 0))
    mixed = pl.pallas_call(
        functools.partial(_kernel, heads=heads),
        grid=(batch, length // rows),
        in_specs=[queries, context, context],
        out_specs=queries,
        out_shape=jax.ShapeDtypeStruct((batch, length, features), query.dtype),
        name=f"fused_attention_of_{heads}_heads",
        interpret=interpret,
        compiler_params=pltpu.CompilerParams(vmem_limit_bytes=MEMORY),
    )(by_sample(query), by_sample(key), by_sample(value))
    return mixed.reshape(query.shape)


def _kernel(query_ref, key_ref, value_ref, mixed_ref, *, heads: int) -> None:
    """Write attention of a block of queries, (1, rows, heads x head width), to all keys of its sample."""
    width = query_ref.shape[-1] // heads
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        query, key, value = query_ref[0, :, part], key_ref[0, :, part], value_ref[0, :, part]
        scores = jax.lax.dot_general(query, key, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)
        scores *= width**-0.5
        weights = jnp.exp(scores - scores.max(-1, keepdims=True))
        total = weights.sum(-1, keepdims=True)
        mixed = jax.lax.dot_general(
            weights.astype(value.dtype), value, (((1,), (0,)), ((), ())), preferred_element_type=jnp.float32
        )
        mixed_ref[0, :, part] = (mixed / total).astype(mixed_ref.dtype)
