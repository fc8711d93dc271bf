"""Matrix products in float8, for sampling on accelerators that multiply it faster than bfloat16 (Hopper, Ada and later)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

FLOAT8 = jnp.float8_e4m3fn
LARGEST = float(jnp.finfo(FLOAT8).max)  # 448
SMALLEST = float(jnp.finfo(jnp.float32).tiny)


def fp8_dot_general(
    x: jax.Array, kernel: jax.Array, dimension_numbers, *, precision=None, preferred_element_type=None, out_sharding=None
) -> jax.Array:
    """A linear layer's ``lax.dot_general``: x (..., in) with kernel (in, out) -> (..., out), both rounded to float8 (e4m3).

    Each row of x and each column of the kernel is first scaled to float8's whole range, so that one large
    channel costs no other row or column its digits; the scales are multiplied back after the sum, which the device makes as
    it does for float8 and ``precision``.  Three binary digits are left of each factor.  Raises ValueError for any other contraction.
    """
    if dimension_numbers != (((x.ndim - 1,), (0,)), ((), ())) or x.ndim < 2 or kernel.ndim != 2:
        allowed = "those of linear layers, the last axis of x with the first of a matrix"
        raise ValueError(f"float8 products are {allowed}; not {dimension_numbers}")
    rows, row_scale = _scaled_to_range(x, axis=-1)
    columns, column_scale = _scaled_to_range(kernel, axis=0)
    dtype = preferred_element_type or x.dtype  # of the sums already: in bfloat16 half as much is written, at a digit far below float8's
    sums = jax.lax.dot_general(
        rows, columns, dimension_numbers, precision=precision, preferred_element_type=dtype, out_sharding=out_sharding
    )
    return (sums.astype(jnp.float32) * row_scale * column_scale).astype(dtype)


def _scaled_to_range(x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """x / scale in float8, and scale (float32), whose product is x.  What is too small for a normal scale becomes 0."""
    x = x.astype(jnp.float32)
    scale = jnp.maximum(jnp.abs(x).max(axis, keepdims=True) / LARGEST, SMALLEST)
    return (x / scale).astype(FLOAT8), scale
