"""Key table of VQGAN codecs (taming transformers' and ITHQ's, which share one graph), and their sizes from shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...config import VQGANConfig
from ...errors import ConversionError
from ..engine import Rule, conv, key, norm, pointwise
from ..engine.shapes import count, indices, rows, shape_of

_CODEBOOKS = {"gumbel": "embed.weight", "vq": "embedding.weight", "ema": "embedding"}


def codec_rules(encoder: str = "", decoder: str = "", ours: str = "", *, quantizer: str) -> list[Rule]:
    """Return the rules of a whole codec.

    Args:
        encoder: begins the keys of encoder, quant_conv and quantize.
        decoder: begins the keys of decoder and post_quant_conv.
        ours: begins our paths.
        quantizer: "gumbel", "vq" or "ema".
    """
    return [
        *_tower(f"{encoder}encoder.", f"{ours}encoder.", "down", "downsample"),
        *pointwise(f"{encoder}quant_conv", f"{ours}quant_conv"),
        *pointwise(f"{encoder}quantize.proj", f"{ours}quantizer.proj"),
        Rule(key(f"{encoder}quantize.{_CODEBOOKS[quantizer]}"), f"{ours}quantizer.codebook"),
        Rule(key(f"{encoder}quantize.cluster_size"), f"{ours}quantizer.cluster_size"),
        Rule(key(f"{encoder}quantize.embedding_avg"), f"{ours}quantizer.codebook_sum"),
        *pointwise(f"{decoder}post_quant_conv", f"{ours}post_quant_conv"),
        *_tower(f"{decoder}decoder.", f"{ours}decoder.", "up", "upsample"),
    ]


def _tower(foreign: str, ours: str, levels: str, resample: str) -> list[Rule]:
    source, target = f"{foreign}{levels}.{{level}}.", f"{ours}{levels}.{{level}}."
    return [
        *conv(f"{foreign}conv_in", f"{ours}conv_in"),
        *_resnet(f"{source}block.{{block}}.", f"{target}blocks.{{block}}."),
        *_attention(f"{source}attn.{{block}}.", f"{target}attentions.{{block}}."),
        *conv(f"{source}{resample}.conv", f"{target}resample"),
        *_resnet(f"{foreign}mid.block_1.", f"{ours}middle.block1."),
        *_attention(f"{foreign}mid.attn_1.", f"{ours}middle.attention."),
        *_resnet(f"{foreign}mid.block_2.", f"{ours}middle.block2."),
        *norm(f"{foreign}norm_out", f"{ours}norm_out"),
        *conv(f"{foreign}conv_out", f"{ours}conv_out"),
    ]


def _resnet(foreign: str, ours: str) -> list[Rule]:
    return [
        *norm(f"{foreign}norm1", f"{ours}norm1"),
        *conv(f"{foreign}conv1", f"{ours}conv1"),
        *norm(f"{foreign}norm2", f"{ours}norm2"),
        *conv(f"{foreign}conv2", f"{ours}conv2"),
        *pointwise(f"{foreign}nin_shortcut", f"{ours}shortcut"),
    ]


def _attention(foreign: str, ours: str) -> list[Rule]:
    names = {"q": "query", "k": "key", "v": "value", "proj_out": "out"}
    return [
        *norm(f"{foreign}norm", f"{ours}norm"),
        *(rule for theirs, name in names.items() for rule in pointwise(f"{foreign}{theirs}", f"{ours}{name}")),
    ]


def codec_fields(tensors: Mapping[str, Any], encoder: str = "", decoder: str = "") -> dict[str, Any]:
    """Return the fields of VQGANConfig that shapes tell, so not image_size, norm_groups, dropout and encoder_window.

    Raises:
        ConversionError: if the keys are not those of such a codec.
    """
    channels, image_channels, _, _ = shape_of(tensors, f"{encoder}encoder.conv_in.weight", 4)
    levels = range(count(tensors, f"{encoder}encoder.down."))
    blocks = count(tensors, f"{encoder}encoder.down.0.block.")
    widths = [rows(tensors, f"{encoder}encoder.down.{i}.block.{blocks - 1}.conv2.weight") for i in levels]
    if any(width % channels for width in widths):
        raise ConversionError(
            f"the codec's levels are {widths} channels wide; multiples of its first layer's {channels} are expected"
        )
    z_channels = shape_of(tensors, f"{decoder}decoder.conv_in.weight", 4)[1]
    if (last := rows(tensors, f"{encoder}encoder.conv_out.weight")) != z_channels:
        raise ConversionError(
            f"the codec's encoder ends in {last} channels and its decoder begins with {z_channels}; "
            "a codec with double_z (a mean and a variance) is not supported"
        )
    quantizer, codebook = _quantizer(tensors, f"{encoder}quantize.")
    codebook_size, embed_dim = shape_of(tensors, codebook, 2)
    return {
        "quantizer": quantizer,
        "codebook_size": codebook_size,
        "embed_dim": embed_dim,
        "channels": channels,
        "channel_multipliers": tuple(width // channels for width in widths),
        "num_res_blocks": blocks,
        "attention_levels": tuple(i for i in levels if indices(tensors, f"{encoder}encoder.down.{i}.attn.")),
        "z_channels": z_channels,
        "image_channels": image_channels,
    }


def _quantizer(tensors: Mapping[str, Any], prefix: str) -> tuple[str, str]:
    for kind, name in _CODEBOOKS.items():
        if prefix + name in tensors:
            return kind, prefix + name
    raise ConversionError(
        f"the file has no codebook: none of {', '.join(prefix + name for name in _CODEBOOKS.values())}"
    )


def codec_config(fields: Mapping[str, Any], *, grid: tuple[int, int] | None = None) -> VQGANConfig:
    """Return the VQGANConfig of these fields.

    A grid of tokens sets the picture size: a codec is convolutional, and a model may use it for pictures of another
    size than its own file says.
    """
    if grid is None:
        return VQGANConfig(**fields)
    return VQGANConfig(**{**fields, "image_size": grid[0] * 2 ** (len(fields["channel_multipliers"]) - 1)})
