"""The patch discriminator (Isola et al. 2017, section 3.2.2 and appendix 6.1.2).

GroupNorm stands where the paper has BatchNorm: it keeps no running statistics, sees each picture alone, and is the same
on any number of devices.
"""

from __future__ import annotations

import jax
from flax import nnx
from jax import Array

from ...config import ComputeConfig
from ...models.layers import GroupNorm, normal_init, over_batch, zeros_init
from .config import DiscriminatorConfig

SLOPE = 0.2  # of the leaky rectifier
WIDEST = 8  # times the first layer's channels


def widths_of(config: DiscriminatorConfig) -> list[int]:
    """Return the channels into each convolution, pixels first; the last one gives one logit."""
    return [3] + [config.channels * min(2**i, WIDEST) for i in range(config.num_layers + 1)]


def _conv(in_channels: int, out_channels: int, stride: int, compute: ComputeConfig, *, rngs: nnx.Rngs) -> nnx.Conv:
    return nnx.Conv(
        in_channels,
        out_channels,
        (4, 4),
        strides=stride,
        padding=((1, 1), (1, 1)),
        kernel_init=normal_init,
        bias_init=zeros_init,
        dtype=compute.dtype,
        param_dtype=compute.param_dtype,
        rngs=rngs,
    )


class Discriminator(nnx.Module):
    """Images (batch, height, width, 3) in [-1, 1] -> logits (batch, h, w, 1), one a patch, higher for real ones."""

    def __init__(self, config: DiscriminatorConfig, compute: ComputeConfig = ComputeConfig(), *, rngs: nnx.Rngs):
        widths = widths_of(config)
        strides = [2] * config.num_layers + [1]
        self.convs = nnx.List([_conv(a, b, s, compute, rngs=rngs) for a, b, s in zip(widths, widths[1:], strides)])
        # The first layer has no norm, which would remove the level of its pixels.
        self.norms = nnx.List([GroupNorm(width, config.norm_groups, compute, rngs=rngs) for width in widths[2:]])
        self.conv_out = _conv(widths[-1], 1, 1, compute, rngs=rngs)

    def __call__(self, images: Array) -> Array:
        x = jax.nn.leaky_relu(over_batch(self.convs[0](images)), SLOPE)
        for conv, norm in zip(list(self.convs)[1:], self.norms, strict=True):
            x = jax.nn.leaky_relu(norm(over_batch(conv(x))), SLOPE)
        return over_batch(self.conv_out(x)).astype("float32")
