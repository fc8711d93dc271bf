"""The matrix product of linear layers, in the form that is fastest on each device."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp


def dot_general(
    x: jax.Array,
    kernel: jax.Array,
    dimension_numbers,
    *,
    precision=None,
    preferred_element_type=None,
    out_sharding=None,
) -> jax.Array:
    """``lax.dot_general``, with float32 sums of bfloat16 products, rounded to ``preferred_element_type`` (x's dtype).

    Accelerators sum in float32 by themselves.  XLA does so on a CPU only if it is asked for a float32 result, and is
    then at least twice as fast.
    """
    multiply = functools.partial(
        jax.lax.dot_general, dimension_numbers=dimension_numbers, precision=precision, out_sharding=out_sharding
    )
    dtype = preferred_element_type or x.dtype
    if not x.dtype == kernel.dtype == dtype == jnp.bfloat16:
        return multiply(x, kernel, preferred_element_type=preferred_element_type)

    def on_cpu(x, kernel):
        return multiply(x, kernel, preferred_element_type=jnp.float32).astype(dtype)

    return jax.lax.platform_dependent(
        x, kernel, cpu=on_cpu, default=functools.partial(multiply, preferred_element_type=dtype)
    )
