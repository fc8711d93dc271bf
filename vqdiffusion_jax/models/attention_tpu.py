"""Attention and its gradient as Pallas kernels on a TPU: scores and softmax never leave the chip's fast memory.

Queries, keys and values are read as the projections make them, (batch, length, heads x head width), each head a slice
of the last axis, so that nothing is transposed or padded in memory, whatever the head width.  A turn holds a block of
queries and all keys of one sample, which bounds the size of the context; longer ones take XLA's form.  The backward
pass computes scores and softmax anew from queries and keys, so that a forward pass keeps nothing but its arguments.
"""

from __future__ import annotations

import functools
from math import gcd

import jax
import jax.numpy as jnp

QUERIES_AT_ONCE = 256
QUERIES_AT_ONCE_BACKWARD = 128
LANES = 128  # the last axis of an array is laid out in pieces of this size
MEMORY = 2**26  # bytes of fast memory that a turn may take; it needs about half of it, compilers grant 16 or 32 MiB
MOST_NUMBERS = 2**21  # of the keys of one sample: 4 MiB in bfloat16, and as much for values, both held twice
DTYPE = jnp.bfloat16


def supports(query: jax.Array | jax.ShapeDtypeStruct, key: jax.Array | jax.ShapeDtypeStruct) -> bool:
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

    Products are summed, and the softmax computed, in float32.  It has no gradient of its own: ``gradients`` computes
    it, and ``attention`` joins the two.

    interpret: run as plain JAX, on any platform, for tests.
    """
    # Imported here, as it takes half a second, which few programs need.
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import tpu as pltpu

    batch, length, heads, width = query.shape
    features = heads * width
    rows = gcd(length, QUERIES_AT_ONCE)
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
    )(_by_sample(query), _by_sample(key), _by_sample(value))
    return mixed.reshape(query.shape)


def gradients(
    query: jax.Array, key: jax.Array, value: jax.Array, cotangent: jax.Array, *, interpret: bool = False
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the gradients of ``fused`` by query, key and value, in their shapes and dtypes.

    Products and the sums over all queries are float32.

    Args:
      query: (batch, length, heads, head width).
      key, value: (batch, context, heads, head width).
      cotangent: gradient by the result of ``fused``, in the query's shape.
      interpret: run as plain JAX, on any platform, for tests.
    """
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import tpu as pltpu

    batch, length, heads, width = query.shape
    features, keys = heads * width, key.shape[1]
    rows = gcd(length, QUERIES_AT_ONCE_BACKWARD)
    queries = pl.BlockSpec((1, rows, features), lambda sample, block: (sample, block, 0))
    context = pl.BlockSpec((1, keys, features), lambda sample, block: (sample, 0, 0))
    by_query, by_key, by_value = pl.pallas_call(
        functools.partial(_backward_kernel, heads=heads),
        grid=(batch, length // rows),
        in_specs=[queries, context, context, queries],
        out_specs=[queries, context, context],
        out_shape=[
            jax.ShapeDtypeStruct((batch, length, features), query.dtype),
            jax.ShapeDtypeStruct((batch, keys, features), key.dtype),
            jax.ShapeDtypeStruct((batch, keys, features), value.dtype),
        ],
        scratch_shapes=[pltpu.VMEM((keys, features), jnp.float32)] * 2,
        name=f"gradients_of_fused_attention_of_{heads}_heads",
        interpret=interpret,
        compiler_params=pltpu.CompilerParams(
            vmem_limit_bytes=MEMORY, dimension_semantics=("parallel", "arbitrary")
        ),  # blocks of queries add to the same sums, one after the other
    )(_by_sample(query), _by_sample(key), _by_sample(value), _by_sample(cotangent))
    return by_query.reshape(query.shape), by_key.reshape(key.shape), by_value.reshape(value.shape)


def _by_sample(array: jax.Array) -> jax.Array:
    return array.reshape(*array.shape[:2], -1)


def _product(left: jax.Array, right: jax.Array, over: tuple[int, int]) -> jax.Array:
    """Return the product summed over an axis of each, in float32."""
    return jax.lax.dot_general(left, right, (((over[0],), (over[1],)), ((), ())), preferred_element_type=jnp.float32)


def _kernel(query_ref, key_ref, value_ref, mixed_ref, *, heads: int) -> None:
    """Write attention of a block of queries, (1, rows, heads x head width), to all keys of its sample."""
    width = query_ref.shape[-1] // heads
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        query, key, value = query_ref[0, :, part], key_ref[0, :, part], value_ref[0, :, part]
        weights, total = _softmax(query, key)
        mixed = _product(weights.astype(value.dtype), value, (1, 0))
        mixed_ref[0, :, part] = (mixed / total).astype(mixed_ref.dtype)


def _softmax(query: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the weights of keys before they are divided by their sum, and the sum, float32."""
    scores = _product(query, key, (1, 1)) * query.shape[-1] ** -0.5
    weights = jnp.exp(scores - scores.max(-1, keepdims=True))
    return weights, weights.sum(-1, keepdims=True)


def _backward_kernel(
    query_ref, key_ref, value_ref, cotangent_ref, by_query_ref, by_key_ref, by_value_ref, key_sum, value_sum, *, heads
) -> None:
    """Write a block's gradient by queries, and at a sample's last block those by keys and values, summed over blocks.

    With weights P, cotangent G and scores' gradient D = P (G V^T - rowsum(P G V^T)): D K, D^T Q and P^T G.
    """
    from jax.experimental import pallas as pl

    block, width = pl.program_id(1), query_ref.shape[-1] // heads

    @pl.when(block == 0)
    def _():
        key_sum[...] = jnp.zeros_like(key_sum)
        value_sum[...] = jnp.zeros_like(value_sum)

    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        query, key, value = query_ref[0, :, part], key_ref[0, :, part], value_ref[0, :, part]
        cotangent = cotangent_ref[0, :, part]
        weights, total = _softmax(query, key)
        weights /= total
        by_weights = _product(cotangent, value, (1, 1))
        by_scores = weights * (by_weights - (weights * by_weights).sum(-1, keepdims=True)) * width**-0.5
        by_scores = by_scores.astype(query.dtype)
        by_query_ref[0, :, part] = _product(by_scores, key, (1, 0)).astype(by_query_ref.dtype)
        key_sum[:, part] += _product(by_scores, query, (0, 0))
        value_sum[:, part] += _product(weights.astype(cotangent.dtype), cotangent, (0, 0))

    @pl.when(block == pl.num_programs(1) - 1)
    def _():
        by_key_ref[0] = key_sum[...].astype(by_key_ref.dtype)
        by_value_ref[0] = value_sum[...].astype(by_value_ref.dtype)
