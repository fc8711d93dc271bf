"""Convolutions of the VQGAN, and their cheaper forms.

Feature maps are (batch, height, width, channels), kernels (rows, columns, in, out).  Weights and biases start uniform
in ±1/sqrt(fan in), as PyTorch's convolutions do, since the released codecs were trained from there.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from math import prod
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ..array_types import AnyFloat, FeatureMap
from ..config import ComputeConfig
from .matmul import Linear

# One object, so that two codecs of one config have the same tree structure.  Uniform in ±sqrt(3 scale / fan in).
uniform_init = nnx.initializers.variance_scaling(1.0 / 3.0, "fan_in", "uniform")

Padding = tuple[tuple[int, int], tuple[int, int]]
Layer = TypeVar("Layer", nnx.Conv, nnx.Linear)

# Winograd's transforms of the input, the kernel and the products, for two outputs in a row, by the kernel's size (Lavin
# and Gray 2016, section 4.1): 3 products in place of 4 for two taps, 4 in place of 6 for three.
_WINOGRAD = {
    2: ([[1, -1, 0], [0, 1, 0], [0, -1, 1]], [[1, 0], [1, 1], [0, 1]], [[1, 1, 0], [0, 1, 1]]),
    3: (
        [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
        [[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]],
        [[1, 1, 1, 0], [0, 1, -1, -1]],
    ),
}
WINOGRAD_CHANNELS = 128  # from so many on, in and out, fewer multiplications pay for more memory traffic
WINOGRAD_DTYPES = (jnp.float32, jnp.bfloat16)

# Of the two pixels that upsampling makes of one, the upper sees rows -1 and 0 of the small map, the lower rows 0 and 1.
# Entries are 1 where a kernel row meets a row of the small map: (upper or lower, row of the small map, kernel row).
ROWS_SEEN = np.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], np.float32)


class Conv3x3(nnx.Conv):
    """nnx.Conv of size 3 x 3, stride 1 and padding "SAME", with bias and the same parameters."""

    def __init__(
        self, in_channels: int, out_channels: int, compute: ComputeConfig, *, kernel_init, rngs: nnx.Rngs, **bias_init
    ):
        super().__init__(
            in_channels,
            out_channels,
            (3, 3),
            kernel_init=kernel_init,
            dtype=compute.dtype,
            param_dtype=compute.param_dtype,
            rngs=rngs,
            **bias_init,
        )

    # nnx.Conv's second argument, a sharding of the result, is not taken.
    def __call__(self, x: FeatureMap) -> AnyFloat:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the convolution of x (batch, h, w, in) -> (batch, h, w, out), in the compute dtype."""
        x = convolve(x.astype(self.dtype), self.kernel[...].astype(self.dtype), ((1, 1), (1, 1)))
        return x + bias_of(self)


def conv(
    in_channels: int,
    out_channels: int,
    compute: ComputeConfig,
    *,
    rngs: nnx.Rngs,
    size: int = 3,
    strides: int = 1,
    padding: str | Padding = "SAME",
) -> nnx.Conv:
    """Return a size x size convolution with bias; kernel (size, size, in, out)."""
    if (size, strides, padding) == (3, 1, "SAME"):
        layer = Conv3x3(in_channels, out_channels, compute, kernel_init=uniform_init, rngs=rngs)
    else:
        layer = nnx.Conv(
            in_channels,
            out_channels,
            (size, size),
            strides=strides,
            padding=padding,
            kernel_init=uniform_init,
            dtype=compute.dtype,
            param_dtype=compute.param_dtype,
            rngs=rngs,
        )
    return with_uniform_bias(layer, rngs)


def pointwise(in_channels: int, out_channels: int, compute: ComputeConfig, *, rngs: nnx.Rngs) -> nnx.Linear:
    """Return a 1 x 1 convolution with bias, as the linear layer that it is; kernel (in, out)."""
    layer = Linear(
        in_channels,
        out_channels,
        kernel_init=uniform_init,
        dtype=compute.dtype,
        param_dtype=compute.param_dtype,
        rngs=rngs,
    )
    return with_uniform_bias(layer, rngs)


def with_uniform_bias(layer: Layer, rngs: nnx.Rngs) -> Layer:
    """Return a fresh nnx.Conv or nnx.Linear after drawing its bias uniformly from ±1/sqrt(fan in)."""
    assert layer.bias is not None
    bound = prod(layer.kernel.shape[:-1]) ** -0.5
    layer.bias = nnx.Param(jax.random.uniform(rngs.params(), layer.bias.shape, layer.bias.dtype, -bound, bound))
    return layer


def conv_of_upsampled(layer: nnx.Conv, x: FeatureMap) -> AnyFloat:
    """Return the 3 x 3 convolution of x with every pixel four times: (batch, h, w, in) -> (batch, 2h, 2w, out)."""
    kernel, x = layer.kernel[...].astype(layer.dtype), x.astype(layer.dtype)
    big = jax.lax.platform_dependent(x, kernel, cpu=_of_upsampled_in_phases, default=_of_upsampled)
    return big + bias_of(layer)


def bias_of(layer: nnx.Conv) -> jax.Array:
    """Return the bias of a layer that has one, (out,) in its compute dtype."""
    assert layer.bias is not None
    return layer.bias[...].astype(layer.dtype)


def _of_upsampled(x: jax.Array, kernel: jax.Array) -> jax.Array:
    batch, height, width, channels = x.shape
    # At once: as two repeats a TPU writes the map between them as well.
    big = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, 2, width, 2, channels))
    return convolve(big.reshape(batch, 2 * height, 2 * width, channels), kernel, ((1, 1), (1, 1)))


def _of_upsampled_in_phases(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """``_of_upsampled`` without the big map, with 4 of 9 multiplications.

    Each pixel of the big map sees at most 2 x 2 different ones of the small map, so that four kernels of that size,
    each for one pixel in four, give the same.
    """
    kernels = jnp.einsum("apk,bql,klio->abpqio", ROWS_SEEN, ROWS_SEEN, kernel.astype(jnp.float32)).astype(kernel.dtype)
    return _interleaved([[convolve(x, kernels[a, b], ((1 - a, a), (1 - b, b))) for b in range(2)] for a in range(2)])


def convolve(x: FeatureMap, kernel: jax.Array, padding: Padding) -> AnyFloat:
    """Return the convolution of x (batch, h, w, in), padded by zeros, with kernel (rows, columns, in, out)."""
    direct = functools.partial(_direct, padding=padding)
    rows, columns, *channels = kernel.shape
    even = all((size + sum(around) - rows + 1) % 2 == 0 for size, around in zip(x.shape[1:3], padding, strict=True))
    if (
        not even
        or rows != columns
        or rows not in _WINOGRAD
        or min(channels) < WINOGRAD_CHANNELS
        or x.dtype not in WINOGRAD_DTYPES
    ):
        return direct(x, kernel)
    return jax.lax.platform_dependent(x, kernel, cpu=lambda x, kernel: winograd(x, kernel, padding), default=direct)


def _direct(x: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def winograd(x: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    """``convolve`` for a 2 x 2 or 3 x 3 kernel and a result of even sides, with 9 of 16 or 16 of 36 multiplications.

    Four neighbouring results need a small square of the input.  Squares and kernel are transformed by additions,
    multiplied place by place, which over all channels is a matrix product a place, and transformed back (Lavin and Gray
    2016, section 4).  Transforms and sums are float32; the factors of a product are of x's dtype.  Rounding errors are
    within a factor of two of the direct form's.  The gradient is that of the direct form, since its own would need all
    squares, which are four times the input.
    """
    of_input, of_kernel, of_products = (np.array(matrix, np.float32) for matrix in _WINOGRAD[kernel.shape[0]])
    places = range(len(of_input))
    dtype = x.dtype
    x, kernel = jnp.pad(x, ((0, 0), *padding, (0, 0))).astype(jnp.float32), kernel.astype(jnp.float32)
    height, width = (size - kernel.shape[0] + 1 for size in x.shape[1:3])
    # One product: as an einsum of three the kernel's transform took longer than the convolution.
    taps = kernel.reshape(-1, *kernel.shape[2:])
    kernels = jnp.einsum("ak,kio->aio", np.kron(of_kernel, of_kernel), taps).astype(dtype)
    kernels = kernels.reshape(len(places), len(places), *taps.shape[1:])

    squares = [[x[:, i : i + height - 1 : 2, j : j + width - 1 : 2] for j in places] for i in places]
    squares = _transformed(of_input, squares)
    # A row of places at a time: one by one they take a third longer to compile, and all at once a tenth longer to run.
    products = [
        jnp.einsum("pbhwi,pio->pbhwo", jnp.stack(row).astype(dtype), kernels[a], preferred_element_type=jnp.float32)
        for a, row in enumerate(squares)
    ]
    return _interleaved(_transformed(of_products, products)).astype(dtype)


def _winograd_forward(x: jax.Array, kernel: jax.Array, padding: Padding):
    return winograd(x, kernel, padding), (x, kernel)


def _winograd_backward(padding: Padding, saved: tuple[jax.Array, jax.Array], gradient: jax.Array):
    return jax.vjp(functools.partial(_direct, padding=padding), *saved)[1](gradient)


winograd.defvjp(_winograd_forward, _winograd_backward)


def _transformed(matrix: np.ndarray, arrays: Sequence[Sequence[jax.Array] | jax.Array]) -> list[list[jax.Array]]:
    """Return matrix arrays matrix^T for a square of arrays."""
    columns = [_combined(matrix, column) for column in zip(*arrays, strict=True)]
    return [_combined(matrix, row) for row in zip(*columns, strict=True)]


def _combined(matrix: np.ndarray, arrays: Sequence[jax.Array]) -> list[jax.Array]:
    """Return matrix times a vector of arrays; entries of the matrix are 0, 1 or -1."""
    sums = []
    for row in matrix:
        terms = [array if factor > 0 else -array for factor, array in zip(row, arrays, strict=True) if factor]
        sums.append(functools.reduce(jnp.add, terms))
    return sums


def _interleaved(phases: Sequence[Sequence[jax.Array]]) -> jax.Array:
    """Return (batch, 2h, 2w, channels) whose row 2i + a, column 2j + b is row i, column j of phases[a][b]."""
    batch, height, width, channels = phases[0][0].shape
    rows = [jnp.stack(row, axis=3) for row in phases]
    return jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, channels)
