"""Convolutions of the VQGAN, and their cheaper forms.

Feature maps are (batch, height, width, channels), kernels (rows, columns, in, out).  Weights and biases start uniform in
±1/sqrt(fan in), as PyTorch's convolutions do, since the released codecs were trained from there.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ..config import ComputeConfig
from .matmul import dot_general

# One object, so that two codecs of one config have the same tree structure.  Uniform in ±sqrt(3 scale / fan in).
uniform_init = nnx.initializers.variance_scaling(1.0 / 3.0, "fan_in", "uniform")

Padding = tuple[tuple[int, int], tuple[int, int]]

# Winograd's transforms for two outputs in a row, of the input, the kernel and the products (Lavin and Gray 2016, section 4.1), by
# the kernel's size: 3 products in place of 4 for two taps, 4 in place of 6 for three; squared in two dimensions.
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

# Of a pixel pair made of one, the upper sees rows -1 and 0 of the small map, the lower rows 0 and 1; the kernel's three rows are
# summed over what they fall on: (which of the pair, row of the small map, row of the kernel).
_FALLS_ON = np.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], np.float32)


class Conv3x3(nnx.Conv):
    """nnx.Conv of size 3 x 3, stride 1 and padding "SAME", with bias; parameters as there."""

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

    def __call__(self, x: jax.Array) -> jax.Array:
        x = convolve(x.astype(self.dtype), self.kernel[...].astype(self.dtype), ((1, 1), (1, 1)))
        return x + self.bias[...].astype(self.dtype)


def conv(
    in_channels: int,
    out_channels: int,
    compute: ComputeConfig,
    *,
    rngs: nnx.Rngs,
    size: int = 3,
    strides: int = 1,
    padding="SAME",
) -> nnx.Conv:
    """A size x size convolution with bias; kernel (size, size, in, out)."""
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
    """A 1 x 1 convolution with bias, as the linear layer it is; kernel (in, out)."""
    layer = nnx.Linear(
        in_channels,
        out_channels,
        kernel_init=uniform_init,
        dtype=compute.dtype,
        param_dtype=compute.param_dtype,
        dot_general=dot_general,
        rngs=rngs,
    )
    return with_uniform_bias(layer, rngs)


def with_uniform_bias(layer, rngs: nnx.Rngs):
    """A fresh nnx.Conv or nnx.Linear whose bias starts uniform in ±1/sqrt(fan in)."""
    bound = prod(layer.kernel.shape[:-1]) ** -0.5
    layer.bias = nnx.Param(jax.random.uniform(rngs.params(), layer.bias.shape, layer.bias.dtype, -bound, bound))
    return layer


def conv_of_upsampled(layer: nnx.Conv, x: jax.Array) -> jax.Array:
    """A 3 x 3 convolution of x with every pixel four times: (batch, h, w, in) -> (batch, 2h, 2w, out)."""
    kernel, x = layer.kernel[...].astype(layer.dtype), x.astype(layer.dtype)
    return jax.lax.platform_dependent(x, kernel, cpu=_of_upsampled_in_phases, default=_of_upsampled) + layer.bias[
        ...
    ].astype(layer.dtype)


def _of_upsampled(x: jax.Array, kernel: jax.Array) -> jax.Array:
    big = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
    return convolve(big, kernel, ((1, 1), (1, 1)))


def _of_upsampled_in_phases(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The big map is never made: each of its pixels sees 2 x 2 different ones at most, so that four kernels of that
    size, each for one pixel in four, give the same with 4 of 9 multiplications.
    """
    kernels = jnp.einsum("apk,bql,klio->abpqio", _FALLS_ON, _FALLS_ON, kernel.astype(jnp.float32)).astype(kernel.dtype)
    return _interleaved([[convolve(x, kernels[a, b], ((1 - a, a), (1 - b, b))) for b in range(2)] for a in range(2)])


def convolve(x: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    """x (batch, h, w, in), padded by zeros, with kernel (rows, columns, in, out): the convolution of stride 1, without bias."""
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
    """``convolve`` for a kernel of 2 x 2 or 3 x 3 and a result of even height and width, with 9 of 16 or 16 of 36 multiplications.

    Four neighbouring results need a small square of the input; squares and kernel are transformed by additions, multiplied
    place by place, which over all channels is a matrix product a place, and transformed back.  Transforms and sums are float32,
    the factors of a product of x's dtype.  Rounding is as in the direct form, within a factor of two.  The gradient is that of
    the direct form, as the squares, four times the input, would have to be kept for their own.
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
    """matrix arrays matrix^T, for a square of arrays."""
    columns = [_combined(matrix, column) for column in zip(*arrays, strict=True)]
    return [_combined(matrix, row) for row in zip(*columns, strict=True)]


def _combined(matrix: np.ndarray, arrays: Sequence[jax.Array]) -> list[jax.Array]:
    """matrix times a vector of arrays, without what is multiplied by 0; all factors are 1 or -1."""
    sums = []
    for row in matrix:
        terms = [array if factor > 0 else -array for factor, array in zip(row, arrays, strict=True) if factor]
        sums.append(functools.reduce(jnp.add, terms))
    return sums


def _interleaved(phases: Sequence[Sequence[jax.Array]]) -> jax.Array:
    """phases[a][b] (batch, h, w, channels) -> (batch, 2h, 2w, channels): row 2i + a, column 2j + b from row i, column j."""
    batch, height, width, channels = phases[0][0].shape
    rows = [jnp.stack(row, axis=3) for row in phases]
    return jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, channels)
