"""A codec's yaml file (taming's, ITHQ's) as fields of VQGANConfig."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import ConfigError
from ..files.yaml_table import YamlTable, side

_QUANTIZERS = {"GumbelVQ": "gumbel", "VQModel": "vq", "PatchVQGAN": "ema"}
_MULTIPLIERS = (1, 2, 4, 8)  # of a codec whose file does not say ch_mult


def codec_fields_of_yaml(path: str | Path) -> dict[str, Any]:
    """Return the fields of VQGANConfig in a codec's yaml file.  Raises ConfigError for another kind of codec."""
    model = YamlTable.read(path).child("model")
    if model.target == "Net2NetTransformer":  # a prior over tokens; the codec is its first stage
        model = model.child("params", "first_stage_config")
    fields: dict[str, Any] = {"quantizer": model.choose("target", _QUANTIZERS)}
    params = model.child("params")
    network = params.child("encoder_config", "params") if fields["quantizer"] == "ema" else params.child("ddconfig")
    params.take(fields, {"codebook_size": "n_embed", "embed_dim": "embed_dim"}, int)
    sizes = {
        "channels": "ch",
        "num_res_blocks": "num_res_blocks",
        "z_channels": "z_channels",
        "image_channels": "in_channels",
    }
    network.take(fields, sizes, int)
    network.take(fields, {"dropout": "dropout"}, float)
    fields["channel_multipliers"] = _MULTIPLIERS
    network.take(fields, {"channel_multipliers": "ch_mult"}, lambda multipliers: tuple(map(int, multipliers)))
    network.take(fields, {"image_size": "resolution"}, side)
    if network.values.get("double_z"):
        raise ConfigError(
            f"{network.where}.double_z is true; a codec that predicts a mean and a variance is not supported"
        )
    if network.values.get("resamp_with_conv") is False:
        raise ConfigError(
            f"{network.where}.resamp_with_conv is false; a codec that resamples without convolutions is not supported"
        )
    if "image_size" in fields:
        levels = {fields["image_size"] // 2**i: i for i in range(len(fields["channel_multipliers"]))}
        network.take(
            fields,
            {"attention_levels": "attn_resolutions"},
            lambda resolutions: tuple(sorted(levels[r] for r in map(side, resolutions) if r in levels)),
        )
    return fields
