"""The convolutional encoder and decoder of the VQGAN (Esser et al. 2021, appendix, table 7).

Images and feature maps are (batch, height, width, channels).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
from flax import nnx

from ..array_types import FeatureMap, Images, Key
from ..config import ComputeConfig, VQGANConfig
from .attention import attention
from .convolution import conv, conv_of_upsampled, pointwise
from .layers import GroupNorm, dropout, over_batch
from .space_to_depth import MOST_CHANNELS, PLACES, conv_of_upsampled_in_squares, in_squares, to_places

HALVING = ((0, 1), (0, 1))  # downsampling pads one row at the bottom and one column at the right only


def in_float32(compute: ComputeConfig) -> ComputeConfig:
    """Return ``compute`` in float32, for latents, whose nearest codes must not change, and for pixels.

    bfloat16 has fewer levels than pixels.
    """
    return replace(compute, dtype="float32", param_dtype="float32")


def _fold(key: jax.Array | None, i: int) -> jax.Array | None:
    return None if key is None else jax.random.fold_in(key, i)


class ResnetBlock(nnx.Module):
    """GroupNorm, swish and a 3 x 3 convolution, twice, added to the input.

    Where the number of channels changes, the input passes a 1 x 1 convolution.
    """

    def __init__(
        self, in_channels: int, out_channels: int, config: VQGANConfig, compute: ComputeConfig, *, rngs: nnx.Rngs
    ):
        self.norm1 = GroupNorm(in_channels, config.norm_groups, compute, rngs=rngs)
        self.conv1 = conv(in_channels, out_channels, compute, rngs=rngs)
        self.norm2 = GroupNorm(out_channels, config.norm_groups, compute, rngs=rngs)
        self.conv2 = conv(out_channels, out_channels, compute, rngs=rngs)
        self.shortcut = (
            None if in_channels == out_channels else pointwise(in_channels, out_channels, compute, rngs=rngs)
        )
        self.dropout = config.dropout

    def __call__(self, x: jax.Array, dropout_key: jax.Array | None = None) -> jax.Array:
        x = over_batch(x)
        h = over_batch(self.conv1(jax.nn.silu(self.norm1(x))))
        h = dropout(jax.nn.silu(self.norm2(h)), self.dropout, dropout_key)
        h = self.conv2(h)
        return over_batch(h + (x if self.shortcut is None else self.shortcut(x)))


class AttentionBlock(nnx.Module):
    """Self-attention over all places of the feature map, with one head as wide as its channels, added to the input."""

    def __init__(self, channels: int, config: VQGANConfig, compute: ComputeConfig, *, rngs: nnx.Rngs):
        self.norm = GroupNorm(channels, config.norm_groups, compute, rngs=rngs)
        self.query = pointwise(channels, channels, compute, rngs=rngs)
        self.key = pointwise(channels, channels, compute, rngs=rngs)
        self.value = pointwise(channels, channels, compute, rngs=rngs)
        self.out = pointwise(channels, channels, compute, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        batch, height, width, channels = x.shape
        places = self.norm(x).reshape(batch, height * width, 1, channels)
        # A head this wide is beyond the fused kernels that the denoiser may use.
        mixed = attention(self.query(places), self.key(places), self.value(places), implementation="xla")
        return over_batch(x + self.out(mixed.reshape(x.shape)))


class Level(nnx.Module):
    """The blocks of one resolution, each followed by attention if the level has it.

    ``resample`` is the convolution that leaves the level; whoever runs the level applies it.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        config: VQGANConfig,
        compute: ComputeConfig,
        *,
        num_blocks: int,
        attends: bool,
        resample: Callable[..., nnx.Conv] | None,
        rngs: nnx.Rngs,
    ):
        widths = [in_channels] + [out_channels] * num_blocks
        self.blocks = nnx.List(
            [ResnetBlock(a, b, config, compute, rngs=rngs) for a, b in zip(widths, widths[1:], strict=False)]
        )
        self.attentions = nnx.List(
            [AttentionBlock(out_channels, config, compute, rngs=rngs) for _ in range(num_blocks if attends else 0)]
        )
        self.resample = None if resample is None else resample(out_channels, rngs=rngs)
        self.remat = compute.remat

    def __call__(self, x: jax.Array, dropout_key: jax.Array | None = None) -> jax.Array:
        for i, block in enumerate(self.blocks):
            x = self.step(block, self.attentions[i] if self.attentions else None, x, _fold(dropout_key, i))
        return x

    @property
    def step(self) -> Callable[..., jax.Array]:
        """``_block_then_attention``, which keeps nothing within for the backward pass if the level rematerialises."""
        return jax.checkpoint(_block_then_attention) if self.remat else _block_then_attention


def _block_then_attention(
    block: ResnetBlock, attends: AttentionBlock | None, x: jax.Array, dropout_key: jax.Array | None
) -> jax.Array:
    x = block(x, dropout_key)
    return x if attends is None else attends(x)


def _loop_on_tpu(
    x: jax.Array,
    blocks: Sequence[ResnetBlock],
    attentions: Sequence[AttentionBlock | None],
    step: Callable[..., jax.Array],
    in_turn: Callable[..., jax.Array],
) -> jax.Array:
    """Return what blocks of one shape make of x by ``step``, each with its attention, if any, as ``in_turn(x)`` does.

    A TPU's program holds every block unrolled, and those of the lowest resolution take most of its code for a tenth of
    its cycles; as a loop it holds one.  A block without attention is given one of zeros.
    """
    none = jax.tree.map(jnp.zeros_like, next(one for one in attentions if one is not None))
    given = [none if one is None else one for one in attentions]

    def as_loop(x, blocks, attentions):
        def turn(x, pair):
            block, attends = pair
            return step(block, attends, x, None), None

        stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *zip(blocks, attentions, strict=True))
        return jax.lax.scan(turn, x, stack)[0]

    return jax.lax.platform_dependent(x, list(blocks), given, tpu=as_loop, default=lambda x, *_: in_turn(x))


class Middle(nnx.Module):
    """Block, attention, block at the lowest resolution."""

    def __init__(self, channels: int, config: VQGANConfig, compute: ComputeConfig, *, rngs: nnx.Rngs):
        self.block1 = ResnetBlock(channels, channels, config, compute, rngs=rngs)
        self.attention = AttentionBlock(channels, config, compute, rngs=rngs)
        self.block2 = ResnetBlock(channels, channels, config, compute, rngs=rngs)

    def __call__(self, x: jax.Array, dropout_key: jax.Array | None = None) -> jax.Array:
        x = self.attention(self.block1(x, _fold(dropout_key, 0)))
        return self.block2(x, _fold(dropout_key, 1))


class Encoder(nnx.Module):
    """The encoder: images (batch, height, width, image_channels) to features (batch, h, w, z_channels) float32."""

    def __init__(self, config: VQGANConfig, compute: ComputeConfig = ComputeConfig(), *, rngs: nnx.Rngs):
        def down(channels, *, rngs):
            return conv(channels, channels, compute, rngs=rngs, strides=2, padding=HALVING)

        widths = [config.channels, *(config.channels * m for m in config.channel_multipliers)]
        last = len(config.channel_multipliers) - 1
        self.conv_in = conv(config.image_channels, config.channels, compute, rngs=rngs)
        self.down = nnx.List(
            [
                Level(
                    widths[i],
                    widths[i + 1],
                    config,
                    compute,
                    num_blocks=config.num_res_blocks,
                    attends=i in config.attention_levels,
                    resample=None if i == last else down,
                    rngs=rngs,
                )
                for i in range(last + 1)
            ]
        )
        self.middle = Middle(widths[-1], config, compute, rngs=rngs)
        self.norm_out = GroupNorm(widths[-1], config.norm_groups, compute, rngs=rngs)
        self.conv_out = conv(widths[-1], config.z_channels, in_float32(compute), rngs=rngs)

    def __call__(self, images: Images, dropout_key: Key | None = None) -> jax.Array:
        x = over_batch(self.conv_in(images))
        for i, level in enumerate(self.down):
            if level.resample is not None:  # all but the last
                x = over_batch(level.resample(level(x, _fold(dropout_key, i))))
        x = self._deep(x, dropout_key)
        return over_batch(self.conv_out(jax.nn.silu(self.norm_out(x))))

    def _deep(self, x: jax.Array, dropout_key: jax.Array | None) -> jax.Array:
        """Return what the last level and the middle make of x, the blocks of the lowest resolution."""
        level, middle, last = self.down[-1], self.middle, len(self.down) - 1
        if dropout_key is not None or not level.attentions:
            return middle(level(x, _fold(dropout_key, last)), _fold(dropout_key, last + 1))
        own, theirs = list(level.blocks), list(level.attentions)
        if own[0].shortcut is not None:  # of another shape than the others
            x = level.step(own.pop(0), theirs.pop(0), x, None)

        def in_turn(x):
            for block, attends in zip(own, theirs, strict=True):
                x = level.step(block, attends, x, None)
            return middle(x)

        blocks, attentions = [*own, middle.block1, middle.block2], [*theirs, middle.attention, None]
        return _loop_on_tpu(x, blocks, attentions, level.step, in_turn)


class Decoder(nnx.Module):
    """The decoder: features (batch, h, w, z_channels) to images (batch, height, width, image_channels) float32.

    Images are not clipped.  ``up[i]`` belongs to level i, so that the list runs backwards; every level has one block
    more than the encoder's.
    """

    def __init__(self, config: VQGANConfig, compute: ComputeConfig = ComputeConfig(), *, rngs: nnx.Rngs):
        def up(channels, *, rngs):
            return conv(channels, channels, compute, rngs=rngs)

        widths = [config.channels * m for m in config.channel_multipliers]
        widths.append(widths[-1])
        self.conv_in = conv(config.z_channels, widths[-1], compute, rngs=rngs)
        self.middle = Middle(widths[-1], config, compute, rngs=rngs)
        self.up = nnx.List(
            [
                Level(
                    widths[i + 1],
                    widths[i],
                    config,
                    compute,
                    num_blocks=config.num_res_blocks + 1,
                    attends=i in config.attention_levels,
                    resample=None if i == 0 else up,
                    rngs=rngs,
                )
                for i in range(len(config.channel_multipliers))
            ]
        )
        self.norm_out = GroupNorm(widths[0], config.norm_groups, compute, rngs=rngs)
        self.conv_out = conv(widths[0], config.image_channels, in_float32(compute), rngs=rngs)

    def __call__(self, features: FeatureMap, dropout_key: Key | None = None) -> jax.Array:
        x = self._deep(over_batch(self.conv_in(features)), dropout_key)
        if len(self.up) == 1:
            return self._image(x)
        for i in reversed(range(1, len(self.up) - 1)):
            x = self.up[i](over_batch(conv_of_upsampled(self._upsampling(i), x)), _fold(dropout_key, i))
        if not self._fits_squares:
            return self._largest_level(x, dropout_key)
        return jax.lax.platform_dependent(
            x,
            tpu=lambda x: self._largest_level_in_squares(x, dropout_key),
            default=lambda x: self._largest_level(x, dropout_key),
        )

    def _upsampling(self, i: int) -> nnx.Conv:
        """Return the convolution of the upsampled map that leads to level i."""
        resample = self.up[i + 1].resample
        assert resample is not None  # every level but 0 has one, and i + 1 is at least 1
        return resample

    def _largest_level(self, x: jax.Array, dropout_key: jax.Array | None) -> jax.Array:
        x = over_batch(conv_of_upsampled(self._upsampling(0), x))
        return self._image(self.up[0](x, _fold(dropout_key, 0)))

    def _image(self, x: jax.Array) -> jax.Array:
        return over_batch(self.conv_out(jax.nn.silu(self.norm_out(x))))

    @property
    def _fits_squares(self) -> bool:
        """Whether a TPU is quicker with the largest level's squares side by side in its channels."""
        few = PLACES * self.conv_out.in_features <= MOST_CHANNELS
        return few and not self.up[0].attentions and jnp.dtype(self.norm_out.dtype) == jnp.bfloat16

    def _largest_level_in_squares(self, x: jax.Array, dropout_key: jax.Array | None) -> jax.Array:
        level, norm, last = in_squares((self.up[0], self.norm_out, self.conv_out))
        x = level(over_batch(conv_of_upsampled_in_squares(self._upsampling(0), x)), _fold(dropout_key, 0))
        return over_batch(to_places(last(jax.nn.silu(norm(x)))))

    def _deep(self, x: jax.Array, dropout_key: jax.Array | None) -> jax.Array:
        """Return what the middle and the last level make of x, the blocks of the lowest resolution."""
        level, last = self.up[-1], len(self.up) - 1

        def in_turn(x):
            return level(self.middle(x, _fold(dropout_key, last + 1)), _fold(dropout_key, last))

        if dropout_key is not None or not level.attentions:
            return in_turn(x)
        middle = self.middle
        blocks = [middle.block1, middle.block2, *level.blocks]
        return _loop_on_tpu(x, blocks, [middle.attention, None, *level.attentions], level.step, in_turn)

    @property
    def last_kernel(self) -> jax.Array:
        """The kernel of the last layer, whose gradients balance the losses of training."""
        return self.conv_out.kernel[...]
