"""Floating point operations of one forward pass, counted from the configuration: 2 for a multiplication and addition.

Only matrix products and convolutions count, as is usual for model FLOP utilisation; norms, softmax and activations are
left out.
"""

from __future__ import annotations

from .config import CLIPTextConfig, DenoiserConfig, VQGANConfig


def denoiser_flops(config: DenoiserConfig) -> int:
    """Return the operations of one denoising forward pass of one picture, nothing precomputed."""
    length, width, layers = config.num_tokens, config.width, config.num_layers
    modulation = 2 * width * 2 * width  # AdaLN's projection, once a picture
    attention = 4 * 2 * length * width * width + 2 * 2 * length * length * width
    mlp = 2 * 2 * length * width * config.mlp_width * (9 if config.mlp == "conv" else 1)
    block = modulation + attention + mlp
    if config.condition == "text":
        context = config.condition_length
        projections = 2 * 2 * length * width * width + 2 * 2 * context * config.condition_width * width
        block += modulation + projections + 2 * 2 * length * context * width
    if config.condition == "class":
        block += modulation
    return layers * block + 2 * length * width * config.num_codes


def text_encoder_flops(config: CLIPTextConfig) -> int:
    """Return the operations of CLIP's text tower on one prompt."""
    length, width = config.context_length, config.width
    attention = 4 * 2 * length * width * width + 2 * 2 * length * length * width
    return config.num_layers * (attention + 2 * 2 * length * width * config.mlp_width)


def decoder_flops(config: VQGANConfig) -> int:
    """Return the operations of decoding one grid of tokens to pixels."""
    levels = len(config.channel_multipliers)
    widths = [config.channels * multiplier for multiplier in config.channel_multipliers]
    side = config.image_size // config.downsampling

    def conv(area: int, wide_in: int, wide_out: int, kernel: int = 3) -> int:
        return 2 * area * wide_in * wide_out * kernel * kernel

    def resnet(area: int, wide_in: int, wide_out: int) -> int:
        shortcut = conv(area, wide_in, wide_out, 1) if wide_in != wide_out else 0
        return conv(area, wide_in, wide_out) + conv(area, wide_out, wide_out) + shortcut

    def attend(area: int, wide: int) -> int:
        return 4 * conv(area, wide, wide, 1) + 2 * 2 * area * area * wide

    area, wide = side * side, widths[-1]
    total = conv(area, config.embed_dim, config.z_channels, 1) + conv(area, config.z_channels, wide)
    total += 2 * resnet(area, wide, wide) + attend(area, wide)
    for level in reversed(range(levels)):
        for _ in range(config.num_res_blocks + 1):
            total += resnet(area, wide, widths[level])
            wide = widths[level]
            total += attend(area, wide) if level in config.attention_levels else 0
        if level:
            area *= 4
            total += conv(area, wide, wide)
    return total + conv(area, wide, config.image_channels)
