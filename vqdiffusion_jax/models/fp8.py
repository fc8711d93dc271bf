"""Matrix products in float8, for sampling on accelerators that multiply it faster than bfloat16 (Hopper, Ada and later)."""

from __future__ import annotations

from typing import TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

FLOAT8 = jnp.float8_e4m3fn
LARGEST = float(jnp.finfo(FLOAT8).max)  # 448
SMALLEST = float(jnp.finfo(jnp.float32).tiny)

Network = TypeVar("Network", bound=nnx.Module)


class Fp8Linear(nnx.Linear):
    """nnx.Linear whose product is made in float8 (e4m3): three binary digits are left of each factor.

    Each row of the input and each column of the kernel is first scaled to float8's whole range, so that one large
    channel costs no other row or column its digits; the scales are multiplied back after the sum.

    The kernel is rounded at every call, or ahead by ``rounded``; it is then float8 and ``kernel_scale`` (1, out) float32.
    """

    def __init__(self, in_features: int, out_features: int, **options):
        super().__init__(in_features, out_features, **options)
        self.kernel_scale = nnx.data(None)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x (..., in) -> (..., out) in the layer's dtype."""
        dtype = self.dtype or x.dtype
        rows, row_scale = _scaled_to_range(x, axis=-1)
        columns, column_scale = self._columns()
        # Sums in the layer's dtype already: in bfloat16 half as much is written, at a digit far below float8's.
        sums = jax.lax.dot_general(
            rows, columns, (((x.ndim - 1,), (0,)), ((), ())), precision=self.precision, preferred_element_type=dtype
        )
        sums = sums.astype(jnp.float32) * row_scale * column_scale
        return (sums if self.bias is None else sums + self.bias[...].astype(jnp.float32)).astype(dtype)

    def round_kernel(self) -> None:
        """Hold the kernel in float8 from now on.  Kernels of several layers may be stacked: (..., in, out)."""
        kernel, scale = self._columns()
        self.kernel, self.kernel_scale = nnx.Param(kernel), nnx.Param(scale)

    def _columns(self) -> tuple[jax.Array, jax.Array]:
        if self.kernel_scale is not None:
            return self.kernel[...], self.kernel_scale[...]
        return _scaled_to_range(self.kernel[...], axis=-2)


def rounded(network: Network) -> Network:
    """A copy of ``network`` whose float8 layers hold their kernels in float8, so that a loop does not round them at every turn."""
    network = jax.tree.map(lambda leaf: leaf, network)
    for _, module in nnx.iter_modules(network):
        if isinstance(module, Fp8Linear):
            module.round_kernel()
    return network


def _scaled_to_range(x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """x / scale in float8, and scale (float32), whose product is x.  What is too small for a normal scale becomes 0."""
    x = x.astype(jnp.float32)
    scale = jnp.maximum(jnp.abs(x).max(axis, keepdims=True) / LARGEST, SMALLEST)
    return (x / scale).astype(FLOAT8), scale
