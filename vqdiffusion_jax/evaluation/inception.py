"""The Inception-v3 that FID is measured with: the network of 2015-12-05, as pytorch-fid 0.3.0 has it.

Szegedy et al. 2016, "Rethinking the Inception architecture", with three habits
of the TensorFlow graph: average pools do not count what they padded, the last
block pools the maximum, and there are 1008 classes.  Pictures are (batch, 299,
299, 3) in [-1, 1] (``resizing.prepare``).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ..errors import EvaluationError
from ..models.layers import Buffer

SIZE = 299
FEATURES = 2048
CLASSES = 1008
_EPSILON = 1e-3


class ConvNorm(nnx.Module):
    """Convolution without bias, batch norm with stored statistics, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel, *, strides: int = 1, padding: int | tuple[int, int] = 0, rngs: nnx.Rngs
    ):
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        rows, columns = (padding, padding) if isinstance(padding, int) else padding
        self.conv = nnx.Conv(
            inputs,
            outputs,
            (height, width),
            strides=strides,
            padding=((rows, rows), (columns, columns)),
            use_bias=False,
            precision=jax.lax.Precision.HIGHEST,
            rngs=rngs,
        )
        self.scale, self.bias = nnx.Param(jnp.ones(outputs)), nnx.Param(jnp.zeros(outputs))
        self.mean, self.variance = Buffer(jnp.zeros(outputs)), Buffer(jnp.ones(outputs))

    def __call__(self, x: jax.Array) -> jax.Array:
        gain = self.scale[...] * jax.lax.rsqrt(self.variance[...] + _EPSILON)
        return jax.nn.relu(self.conv(x) * gain + (self.bias[...] - self.mean[...] * gain))


def max_pool(x: jax.Array, *, strides: int = 2, padding: int = 0) -> jax.Array:
    """Return the largest of every 3 x 3 pixels."""
    pads: Any = ((padding, padding),) * 2  # flax takes pairs, and declares a str
    return nnx.max_pool(x, (3, 3), (strides, strides), pads)


def mean_pool(x: jax.Array) -> jax.Array:
    """Return the mean of every 3 x 3 pixels, of those that exist at the border."""
    pads: Any = ((1, 1), (1, 1))  # flax takes pairs, and declares a str
    return nnx.avg_pool(x, (3, 3), (1, 1), pads, count_include_pad=False)


class BlockA(nnx.Module):
    """35 x 35: 1 x 1, 5 x 5, two 3 x 3, and a pool of ``pooled`` channels."""

    def __init__(self, inputs: int, pooled: int, *, rngs: nnx.Rngs):
        self.branch1x1 = ConvNorm(inputs, 64, 1, rngs=rngs)
        self.branch5x5_1 = ConvNorm(inputs, 48, 1, rngs=rngs)
        self.branch5x5_2 = ConvNorm(48, 64, 5, padding=2, rngs=rngs)
        self.branch3x3dbl_1 = ConvNorm(inputs, 64, 1, rngs=rngs)
        self.branch3x3dbl_2 = ConvNorm(64, 96, 3, padding=1, rngs=rngs)
        self.branch3x3dbl_3 = ConvNorm(96, 96, 3, padding=1, rngs=rngs)
        self.branch_pool = ConvNorm(inputs, pooled, 1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return jnp.concatenate([self.branch1x1(x), five, three, self.branch_pool(mean_pool(x))], axis=-1)


class BlockB(nnx.Module):
    """35 x 35 to 17 x 17."""

    def __init__(self, inputs: int, *, rngs: nnx.Rngs):
        self.branch3x3 = ConvNorm(inputs, 384, 3, strides=2, rngs=rngs)
        self.branch3x3dbl_1 = ConvNorm(inputs, 64, 1, rngs=rngs)
        self.branch3x3dbl_2 = ConvNorm(64, 96, 3, padding=1, rngs=rngs)
        self.branch3x3dbl_3 = ConvNorm(96, 96, 3, strides=2, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return jnp.concatenate([self.branch3x3(x), double, max_pool(x)], axis=-1)


class BlockC(nnx.Module):
    """17 x 17: 7 x 7 convolutions as rows and columns, ``width`` channels between them."""

    def __init__(self, inputs: int, width: int, *, rngs: nnx.Rngs):
        row: dict[str, Any] = {"kernel": (1, 7), "padding": (0, 3)}
        column: dict[str, Any] = {"kernel": (7, 1), "padding": (3, 0)}
        self.branch1x1 = ConvNorm(inputs, 192, 1, rngs=rngs)
        self.branch7x7_1 = ConvNorm(inputs, width, 1, rngs=rngs)
        self.branch7x7_2 = ConvNorm(width, width, **row, rngs=rngs)
        self.branch7x7_3 = ConvNorm(width, 192, **column, rngs=rngs)
        self.branch7x7dbl_1 = ConvNorm(inputs, width, 1, rngs=rngs)
        self.branch7x7dbl_2 = ConvNorm(width, width, **column, rngs=rngs)
        self.branch7x7dbl_3 = ConvNorm(width, width, **row, rngs=rngs)
        self.branch7x7dbl_4 = ConvNorm(width, width, **column, rngs=rngs)
        self.branch7x7dbl_5 = ConvNorm(width, 192, **row, rngs=rngs)
        self.branch_pool = ConvNorm(inputs, 192, 1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return jnp.concatenate([self.branch1x1(x), once, twice, self.branch_pool(mean_pool(x))], axis=-1)


class BlockD(nnx.Module):
    """17 x 17 to 8 x 8."""

    def __init__(self, inputs: int, *, rngs: nnx.Rngs):
        self.branch3x3_1 = ConvNorm(inputs, 192, 1, rngs=rngs)
        self.branch3x3_2 = ConvNorm(192, 320, 3, strides=2, rngs=rngs)
        self.branch7x7x3_1 = ConvNorm(inputs, 192, 1, rngs=rngs)
        self.branch7x7x3_2 = ConvNorm(192, 192, (1, 7), padding=(0, 3), rngs=rngs)
        self.branch7x7x3_3 = ConvNorm(192, 192, (7, 1), padding=(3, 0), rngs=rngs)
        self.branch7x7x3_4 = ConvNorm(192, 192, 3, strides=2, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return jnp.concatenate([self.branch3x3_2(self.branch3x3_1(x)), seven, max_pool(x)], axis=-1)


class BlockE(nnx.Module):
    """8 x 8; the last one pools the maximum."""

    def __init__(self, inputs: int, *, pools_maximum: bool, rngs: nnx.Rngs):
        row: dict[str, Any] = {"kernel": (1, 3), "padding": (0, 1)}
        column: dict[str, Any] = {"kernel": (3, 1), "padding": (1, 0)}
        self.pools_maximum = pools_maximum
        self.branch1x1 = ConvNorm(inputs, 320, 1, rngs=rngs)
        self.branch3x3_1 = ConvNorm(inputs, 384, 1, rngs=rngs)
        self.branch3x3_2a = ConvNorm(384, 384, **row, rngs=rngs)
        self.branch3x3_2b = ConvNorm(384, 384, **column, rngs=rngs)
        self.branch3x3dbl_1 = ConvNorm(inputs, 448, 1, rngs=rngs)
        self.branch3x3dbl_2 = ConvNorm(448, 384, 3, padding=1, rngs=rngs)
        self.branch3x3dbl_3a = ConvNorm(384, 384, **row, rngs=rngs)
        self.branch3x3dbl_3b = ConvNorm(384, 384, **column, rngs=rngs)
        self.branch_pool = ConvNorm(inputs, 192, 1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        once = self.branch3x3_1(x)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = max_pool(x, strides=1, padding=1) if self.pools_maximum else mean_pool(x)
        branches = [
            self.branch1x1(x),
            self.branch3x3_2a(once),
            self.branch3x3_2b(once),
            self.branch3x3dbl_3a(twice),
            self.branch3x3dbl_3b(twice),
            self.branch_pool(pooled),
        ]
        return jnp.concatenate(branches, axis=-1)


class Inception(nnx.Module):
    """Pictures (batch, 299, 299, 3) in [-1, 1] to (pool3 features (batch, 2048), logits (batch, 1008)), float32."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.stem1a = ConvNorm(3, 32, 3, strides=2, rngs=rngs)
        self.stem2a = ConvNorm(32, 32, 3, rngs=rngs)
        self.stem2b = ConvNorm(32, 64, 3, padding=1, rngs=rngs)
        self.stem3b = ConvNorm(64, 80, 1, rngs=rngs)
        self.stem4a = ConvNorm(80, 192, 3, rngs=rngs)
        self.mixed5 = nnx.List(
            [BlockA(inputs, pooled, rngs=rngs) for inputs, pooled in ((192, 32), (256, 64), (288, 64))]
        )
        self.mixed6a = BlockB(288, rngs=rngs)
        self.mixed6 = nnx.List([BlockC(768, width, rngs=rngs) for width in (128, 160, 160, 192)])
        self.mixed7a = BlockD(768, rngs=rngs)
        self.mixed7b = BlockE(1280, pools_maximum=False, rngs=rngs)
        self.mixed7c = BlockE(2048, pools_maximum=True, rngs=rngs)
        self.head = nnx.Linear(FEATURES, CLASSES, precision=jax.lax.Precision.HIGHEST, rngs=rngs)

    def __call__(self, pictures: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return (features, logits), the logits without bias, as the Inception Score takes them.

        Raises EvaluationError for another shape.
        """
        if pictures.ndim != 4 or pictures.shape[1:] != (SIZE, SIZE, 3):
            raise EvaluationError(
                f"pictures have shape {pictures.shape}; the Inception network takes (batch, {SIZE}, {SIZE}, 3)"
            )
        x = max_pool(self.stem2b(self.stem2a(self.stem1a(pictures))))
        x = max_pool(self.stem4a(self.stem3b(x)))
        for block in (*self.mixed5, self.mixed6a, *self.mixed6, self.mixed7a, self.mixed7b, self.mixed7c):
            x = block(x)
        features = x.mean(axis=(1, 2))
        return features, jnp.dot(features, self.head.kernel[...], precision=jax.lax.Precision.HIGHEST)
