"""Floating point operations of a codec's training, counted as ``vqdiffusion_jax.flops`` counts them."""

from __future__ import annotations

from ...config import VQGANConfig
from ...flops import decoder_flops
from .config import DiscriminatorConfig
from .discriminator import widths_of


def _conv(area: int, wide_in: int, wide_out: int, kernel: int = 3) -> int:
    return 2 * area * wide_in * wide_out * kernel * kernel


def encoder_flops(config: VQGANConfig) -> int:
    """Return the operations of encoding one picture to latents."""

    def resnet(area: int, wide_in: int, wide_out: int) -> int:
        shortcut = _conv(area, wide_in, wide_out, 1) if wide_in != wide_out else 0
        return _conv(area, wide_in, wide_out) + _conv(area, wide_out, wide_out) + shortcut

    def attend(area: int, wide: int) -> int:
        return 4 * _conv(area, wide, wide, 1) + 2 * 2 * area * area * wide

    area, wide = config.image_size**2, config.channels
    total = _conv(area, config.image_channels, wide)
    for level, multiplier in enumerate(config.channel_multipliers):
        for _ in range(config.num_res_blocks):
            total += resnet(area, wide, config.channels * multiplier)
            wide = config.channels * multiplier
            total += attend(area, wide) if level in config.attention_levels else 0
        if level < len(config.channel_multipliers) - 1:
            area //= 4
            total += _conv(area, wide, wide)
    total += 2 * resnet(area, wide, wide) + attend(area, wide)
    return total + _conv(area, wide, config.z_channels) + _conv(area, config.z_channels, config.embed_dim, 1)


def network_flops(config: VQGANConfig) -> int:
    """Return the operations of encoder and decoder for one picture."""
    if config.network == "conv":
        return encoder_flops(config) + decoder_flops(config)
    pixels = config.cell**2 * config.image_channels
    codes = (config.cell // config.downsampling) ** 2 * config.z_channels
    width, blocks = config.channels, 4 * config.num_res_blocks * config.channels**2
    # A linear encoder's product, and that of the decoder beside it, which goes back.
    encoder = 2 * pixels * codes if config.network == "linear" else (pixels + codes) * width + blocks
    weights = encoder + (9 * codes + pixels) * width + blocks
    return 2 * weights * (config.image_size // config.cell) ** 2


def quantizer_flops(config: VQGANConfig) -> int:
    """Return the operations of comparing one picture's latents with every code, or projecting them to logits."""
    if config.quantizer == "fsq":
        return 0
    return 2 * config.grid[0] * config.grid[1] * config.embed_dim * config.codebook_size


def discriminator_flops(config: DiscriminatorConfig, image_size: int) -> int:
    """Return the operations of one forward pass of the discriminator over a picture."""
    widths, side, total = widths_of(config), image_size, 0
    for number, (wide_in, wide_out) in enumerate(zip(widths, [*widths[1:], 1], strict=True)):
        side = side // 2 if number < config.num_layers else side - 1
        total += _conv(side * side, wide_in, wide_out, 4)
    return total


def training_flops(codec: VQGANConfig, discriminator: DiscriminatorConfig) -> int:
    """Return the operations of one picture's forward and backward pass; backward costs twice forward.

    The discriminator runs forward and backward on the reconstruction for the decoder (one backward product a layer),
    and on picture and reconstruction for itself.
    """
    total = 3 * (network_flops(codec) + quantizer_flops(codec))
    return total + (7 * discriminator_flops(discriminator, codec.image_size) if discriminator.weight else 0)
