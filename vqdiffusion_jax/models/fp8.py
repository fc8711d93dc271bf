"""Matrix products in float8, for sampling on GPUs that multiply it faster than bfloat16 (Hopper, Ada and later)."""

from __future__ import annotations

from typing import TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

FLOAT8 = jnp.float8_e4m3fn
LARGEST = float(jnp.finfo(FLOAT8).max)  # 448
SMALLEST = float(jnp.finfo(jnp.float32).tiny)

Network = TypeVar("Network", bound=nnx.Module)
# A kernel in float8, (..., out, in), and its columns' scales, (..., 1, out) float32; ... are stacked layers.
RoundedKernel = tuple[jax.Array, jax.Array]


class Fp8Linear(nnx.Linear):
    """nnx.Linear that multiplies in float8 (e4m3), which leaves three binary digits of each factor.

    Each row of the input and each column of the kernel is first scaled to float8's whole range, so that one large
    channel costs no other row or column its digits; the scales are multiplied back after the sum.

    The kernel is rounded at every call, unless ``with_kernels`` put a ``RoundedKernel`` into ``rounded`` before.
    """

    rounded: RoundedKernel | None

    def __init__(self, in_features: int, out_features: int, **options):
        super().__init__(in_features, out_features, **options)
        self.rounded = nnx.data(None)

    # nnx.Linear's second argument, a sharding of the result, is not taken.
    def __call__(self, x: jax.Array) -> jax.Array:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return (..., out) in the layer's dtype for x (..., in)."""
        dtype = self.dtype or x.dtype
        rows, row_scale = _scaled_to_range(x, axis=-1)
        columns, column_scale = self.round_kernel() if self.rounded is None else self.rounded
        # Sums in the layer's dtype already: in bfloat16 half as much is written, at a digit far below float8's.
        sums = jax.lax.dot_general(
            rows, columns, (((x.ndim - 1,), (1,)), ((), ())), precision=self.precision, preferred_element_type=dtype
        )
        sums = sums.astype(jnp.float32) * row_scale * column_scale
        return (sums if self.bias is None else sums + self.bias[...].astype(jnp.float32)).astype(dtype)

    def round_kernel(self) -> RoundedKernel:
        """Return the kernel as the product takes it: transposed, as float8 products read both factors along the sum."""
        columns, scale = _scaled_to_range(self.kernel[...], axis=-2)
        return columns.swapaxes(-1, -2), scale


def rounded_kernels(network: nnx.Module) -> list[RoundedKernel]:
    """Return the kernels of all float8 layers of ``network``; empty if it has none."""
    return [layer.round_kernel() for layer in _layers(network)]


def with_kernels(network: Network, kernels: list[RoundedKernel]) -> Network:
    """Return ``network`` with its ``rounded_kernels`` in place, so that a loop does not round them at every turn."""
    network = jax.tree.map(lambda leaf: leaf, network)
    for layer, kernel in zip(_layers(network), kernels, strict=True):
        layer.rounded = nnx.data(kernel)
    return network


def _layers(network: nnx.Module) -> list[Fp8Linear]:
    return [module for _, module in nnx.iter_modules(network) if isinstance(module, Fp8Linear)]


def _scaled_to_range(x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """Return x / scale in float8 and the scale (float32); numbers too small for a normal scale become 0."""
    x = x.astype(jnp.float32)
    scale = jnp.maximum(jnp.abs(x).max(axis, keepdims=True) / LARGEST, SMALLEST)
    return (x / scale).astype(FLOAT8), scale
