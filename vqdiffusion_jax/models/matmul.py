"""Linear layers whose products, and those of their gradients, have the form that is fastest on each device."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import nnx


class Linear(nnx.Linear):
    """nnx.Linear with the products below; its parameters are the same."""

    # nnx.Linear's second argument, a sharding of the result, is not taken.
    def __call__(self, x: jax.Array) -> jax.Array:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return (..., out) for x (..., in)."""
        bias = None if self.bias is None else self.bias[...]
        x, kernel, bias = self.promote_dtype((x, self.kernel[...], bias), dtype=self.dtype)
        dimensions = ((x.ndim - 1,), (0,)), ((), ())
        y = dot_general(
            x, kernel, dimensions, precision=self.precision, preferred_element_type=self.preferred_element_type
        )
        return y if bias is None else _with_bias(y, bias)


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
    then at least twice as fast; so are the products of the gradient.
    """
    multiply = functools.partial(
        jax.lax.dot_general, dimension_numbers=dimension_numbers, precision=precision, out_sharding=out_sharding
    )
    dtype = jnp.dtype(preferred_element_type or x.dtype)
    if not x.dtype == kernel.dtype == jnp.bfloat16:
        return multiply(x, kernel, preferred_element_type=preferred_element_type)

    def on_cpu(x, kernel):
        return multiply(x, kernel, preferred_element_type=jnp.float32).astype(dtype)

    if dimension_numbers == (((x.ndim - 1,), (0,)), ((), ())) and kernel.ndim == 2 <= x.ndim and out_sharding is None:
        on_cpu = functools.partial(_rows_by_matrix, dtype)
    return jax.lax.platform_dependent(
        x, kernel, cpu=on_cpu, default=functools.partial(multiply, preferred_element_type=dtype)
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _rows_by_matrix(dtype: jnp.dtype, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Return (..., in) times (in, out), both bfloat16, rounded to ``dtype``; the gradient's products are bfloat16 too.

    Autodiff would multiply by the cotangent of float32 sums, for which XLA makes float32 of the other side as well: a
    fourth of the speed where a CPU has bfloat16 units.
    """
    return _summed(x, kernel, (x.ndim - 1,), (0,)).astype(dtype)


def _forward(dtype: jnp.dtype, x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _rows_by_matrix(dtype, x, kernel), (x, kernel)


def _backward(
    dtype: jnp.dtype, saved: tuple[jax.Array, jax.Array], cotangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    cotangent = cotangent.astype(x.dtype)
    to_x = _summed(cotangent, kernel, (cotangent.ndim - 1,), (1,)).astype(x.dtype)
    if x.ndim == 2 and x.shape[0] % 2 == 0:  # over one leading axis XLA sums without packing it first
        x, cotangent = (value.reshape(2, -1, value.shape[-1]) for value in (x, cotangent))
    rows = tuple(range(x.ndim - 1))
    return to_x, _summed(x, cotangent, rows, rows).astype(kernel.dtype)


_rows_by_matrix.defvjp(_forward, _backward)


@jax.custom_vjp
def _with_bias(y: jax.Array, bias: jax.Array) -> jax.Array:
    """Return y (..., out) plus bias (out,); a bfloat16 bias takes its gradient from a product with ones on a CPU.

    XLA sums the rows of a wide y there ten times as slowly.
    """
    return y + bias


def _with_bias_forward(y: jax.Array, bias: jax.Array) -> tuple[jax.Array, jax.Array]:
    return _with_bias(y, bias), bias


def _with_bias_backward(bias: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    rows = tuple(range(cotangent.ndim - 1))

    def summed(cotangent):
        return cotangent.sum(rows).astype(bias.dtype)

    def multiplied(cotangent):
        ones = jnp.ones((1, *cotangent.shape[:-1]), bias.dtype)
        return _summed(ones, cotangent.astype(bias.dtype), tuple(axis + 1 for axis in rows), rows)[0].astype(bias.dtype)

    if bias.dtype != jnp.bfloat16:
        return cotangent, summed(cotangent)
    return cotangent, jax.lax.platform_dependent(cotangent, cpu=multiplied, default=summed)


_with_bias.defvjp(_with_bias_forward, _with_bias_backward)


def _summed(left: jax.Array, right: jax.Array, over_left: tuple[int, ...], over_right: tuple[int, ...]) -> jax.Array:
    dimensions = ((over_left, over_right), ((), ()))
    return jax.lax.dot_general(left, right, dimensions, preferred_element_type=jnp.float32)
