"""Encoders and decoder of matrix products alone, in place of convolutions: what a CPU computes fastest.

All see a picture as square cells of ``encoder_window`` pixels.  An encoder makes the tokens of a cell from its
pixels; the decoder makes the pixels of a cell from the codes of the cell and its eight neighbours, zeros beyond the
border.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from ..array_types import AnyFloat, FeatureMap, Images, Key
from ..config import ComputeConfig, VQGANConfig
from .layers import ACTIVATION_FUNCTIONS, over_batch, standardize
from .matmul import Linear


class Tower(nnx.Module):
    """Vectors to vectors: a linear layer, residual blocks of two with their input normalised, a linear layer."""

    def __init__(
        self, inputs: int, width: int, outputs: int, num_blocks: int, compute: ComputeConfig, *, rngs: nnx.Rngs
    ):
        def linear(features_in, features_out, scale=1.0):
            init = nnx.initializers.variance_scaling(scale, "fan_in", "normal")
            return Linear(
                features_in,
                features_out,
                kernel_init=init,
                dtype=compute.dtype,
                param_dtype=compute.param_dtype,
                preferred_element_type=jnp.float32,
                rngs=rngs,
            )

        self.first = linear(inputs, width)
        self.up = nnx.List([linear(width, 2 * width) for _ in range(num_blocks)])
        self.down = nnx.List([linear(2 * width, width, 0.1) for _ in range(num_blocks)])
        self.last = linear(width, outputs, 0.25)

    def __call__(self, x: AnyFloat) -> AnyFloat:
        x = self.first(x)
        for up, down in zip(self.up, self.down, strict=True):
            x = x + down(ACTIVATION_FUNCTIONS["gelu2"](up(standardize(x))))
        return self.last(standardize(x)).astype(jnp.float32)


class DenseEncoder(nnx.Module):
    """Cells (batch, window, window, image_channels) -> features (batch, h, w, z_channels) float32."""

    def __init__(self, config: VQGANConfig, compute: ComputeConfig = ComputeConfig(), *, rngs: nnx.Rngs):
        self.side = config.cell // config.downsampling
        pixels = config.cell**2 * config.image_channels
        width, outputs = config.channels, self.side**2 * config.z_channels
        self.tower = Tower(pixels, width, outputs, config.num_res_blocks, compute, rngs=rngs)

    def __call__(self, images: Images, dropout_key: Key | None = None) -> FeatureMap:
        features = self.tower(over_batch(images.reshape(len(images), -1)))
        return features.reshape(len(images), self.side, self.side, -1)


class LinearEncoder(nnx.Module):
    """Cells (batch, window, window, image_channels) -> features (batch, h, w, z_channels) float32, by one product.

    With the principal components of cells as its kernel, distances of features are distances of pixels.
    """

    def __init__(self, config: VQGANConfig, compute: ComputeConfig = ComputeConfig(), *, rngs: nnx.Rngs):
        self.side = config.cell // config.downsampling
        pixels, outputs = config.cell**2 * config.image_channels, self.side**2 * config.z_channels
        self.linear = nnx.Linear(
            pixels, outputs, dtype=jnp.float32, param_dtype=compute.param_dtype, precision="highest", rngs=rngs
        )

    def __call__(self, images: Images, dropout_key: Key | None = None) -> FeatureMap:
        features = self.linear(over_batch(images.reshape(len(images), -1)))
        return features.reshape(len(images), self.side, self.side, -1)


class DenseDecoder(nnx.Module):
    """Features (batch, h, w, z_channels) -> images (batch, height, width, image_channels) float32, not clipped.

    Beside a linear encoder, the cell's own codes are also decoded by one product, to which the tower adds what
    neighbours tell.
    """

    def __init__(self, config: VQGANConfig, compute: ComputeConfig = ComputeConfig(), *, rngs: nnx.Rngs):
        self.side, self.pixels = config.cell // config.downsampling, config.cell
        inputs = 9 * self.side**2 * config.z_channels
        outputs = config.cell**2 * config.image_channels
        self.tower = Tower(inputs, config.channels, outputs, config.num_res_blocks, compute, rngs=rngs)
        codes = self.side**2 * config.z_channels
        self.linear = (
            nnx.Linear(codes, outputs, dtype=jnp.float32, param_dtype=compute.param_dtype, rngs=rngs)
            if config.network == "linear"
            else None
        )

    def __call__(self, features: FeatureMap, dropout_key: Key | None = None) -> Images:
        batch, height, width, channels = features.shape
        rows, columns = height // self.side, width // self.side
        cells = _cut(features, self.side).reshape(batch, rows, columns, -1)
        padded = jnp.pad(cells, ((0, 0), (1, 1), (1, 1), (0, 0)))
        seen = [padded[:, i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
        pixels = self.tower(over_batch(jnp.concatenate(seen, axis=-1)))
        if self.linear is not None:
            pixels += self.linear(over_batch(cells))
        squares = pixels.reshape(batch, rows, columns, self.pixels, self.pixels, -1).swapaxes(2, 3)
        return squares.reshape(batch, rows * self.pixels, columns * self.pixels, -1)

    @property
    def last_kernel(self) -> jax.Array:
        """The kernel of the last layer, whose gradients balance the losses of training."""
        return self.tower.last.kernel[...]


def _cut(features: jax.Array, side: int) -> jax.Array:
    """(batch, h, w, channels) -> (batch, h / side, w / side, side, side, channels)."""
    batch, height, width, channels = features.shape
    return features.reshape(batch, height // side, side, width // side, side, channels).swapaxes(2, 3)
