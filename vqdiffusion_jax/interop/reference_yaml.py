"""The reference's yaml files as our configuration: model files (configs/*.yaml) and codec files (taming's, ITHQ's)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..config import ModelConfig
from ..errors import ConfigError
from ..presets import CODECS
from .clip_rules import HEAD_WIDTH
from .facts import Facts, model_config

_CONDITIONS = {
    "Text2ImageTransformer": "text",
    "Condition2ImageTransformer": "class",
    "UnCondition2ImageTransformer": "none",
}
_ACTIVATIONS = {"GELU2": "gelu2", "GELU": "gelu"}
_MLPS = {"fc": "dense", "conv_mlp": "conv"}
_TIMESTEPS = {"adalayernorm": "learned", "adalayernorm_abs": "sinusoidal"}
_QUANTIZERS = {"GumbelVQ": "gumbel", "VQModel": "vq", "PatchVQGAN": "ema"}
_RELEASED_CODECS = {  # the codec a model file means where no codec file is given
    "TamingGumbelVQVAE": "openimages_f8_8192",
    "TamingVQVAE": "imagenet_f16_16384",
    "TamingFFHQVQVAE": "ffhq_f16_1024",
    "PatchVQVAE": "ithq_f8_4096",
}
_DOUBLED_WIDTH = 1024  # condition_emb.embed_dim at which the reference concatenates CLIP's feature with itself


class _Loader(yaml.SafeLoader):
    """Plain yaml and the one tag the reference's files use."""


_Loader.add_constructor(
    "tag:yaml.org,2002:python/tuple", lambda loader, node: tuple(loader.construct_sequence(node, deep=True))
)


class _Node:
    """A table of a yaml file that knows its place, for errors."""

    def __init__(self, values: Any, where: str):
        if not isinstance(values, Mapping):
            raise ConfigError(f"{where} is {values!r}; a table is expected")
        self.values, self.where = values, where

    def child(self, *names: str) -> _Node:
        node = self
        for name in names:
            if name not in node.values:
                raise ConfigError(
                    f"{node.where} has no {name!r}; it has {', '.join(map(str, node.values)) or 'nothing'}"
                )
            node = _Node(node.values[name], f"{node.where}.{name}")
        return node

    def maybe(self, *names: str) -> _Node:
        node = self
        for name in names:
            node = _Node(node.values.get(name) or {}, f"{node.where}.{name}")
        return node

    @property
    def target(self) -> str:
        """Last part of the class name."""
        return str(self.values.get("target", "")).rsplit(".", 1)[-1]

    def choose(self, name: str, choices: Mapping[str, str]) -> str:
        value = self.target if name == "target" else self.values[name]
        if value not in choices:
            raise ConfigError(f"{self.where}.{name} is {value!r}; supported: {', '.join(choices)}")
        return choices[value]

    def take(self, section: dict[str, Any], names: Mapping[str, str], change=lambda value: value) -> None:
        """Copies the values that are there: {ours: theirs}."""
        for ours, theirs in names.items():
            if self.values.get(theirs) is not None:
                try:
                    section[ours] = change(self.values[theirs])
                except (TypeError, ValueError):
                    raise ConfigError(
                        f"{self.where}.{theirs} is {self.values[theirs]!r}, which cannot be read"
                    ) from None


def _read(path: str | Path) -> _Node:
    try:
        text = Path(path).read_text(encoding="utf-8")
        values = yaml.load(text, Loader=_Loader)  # a SafeLoader
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}; give the reference's yaml file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a yaml file of the reference: {' '.join(str(error).split())[:200]}") from None
    return _Node(values, str(path))


def codec_files(path: str | Path) -> dict[str, str]:
    """The companion files a reference model file names for its codec: any of "mapping" and "codec_config"."""
    params = _read(path).child("model", "params").maybe("content_codec_config", "params")
    named = {"mapping": params.values.get("mapping_path"), "codec_config": params.values.get("config_path")}
    return {role: name for role, name in named.items() if isinstance(name, str) and name != "None"}


def config_from_yaml(path: str | Path, codec: str | Path | None = None) -> ModelConfig:
    """ModelConfig of a reference model file.

    Args:
        path: configs/*.yaml or a released config_*.yaml.
        codec: the codec's own yaml; None takes the released codec that the model file names.

    Raises:
        ConfigError: one line, if a file cannot be read or describes what is not supported.
    """
    facts = model_facts(path)
    if codec is None:
        named = _read(path).child("model", "params", "content_codec_config").choose("target", _RELEASED_CODECS)
        described = dataclasses.asdict(CODECS[named])
        del (
            described["reduced_codebook_size"],
            described["image_size"],
        )  # the model file tells the first; its grid, the second
    else:
        described = codec_facts(codec)
    facts["codec"] = {**described, **facts["codec"]}
    width = facts["denoiser"].get("condition_width")
    if (
        "text_encoder" in facts and width
    ):  # the condition is as wide as CLIP, which the file only names, or twice as wide
        width //= 2 if facts["text_embedding"].get("double") else 1
        facts["text_encoder"] |= {"width": width, "num_heads": max(width // HEAD_WIDTH, 1), "projection_width": width}
    return model_config(facts)


def model_facts(path: str | Path) -> Facts:
    """All that a reference model file tells, as facts."""
    params = _read(path).child("model", "params")
    diffusion = params.child("diffusion_config", "params")
    transformer = diffusion.child("transformer_config")
    condition = transformer.choose("target", _CONDITIONS)
    facts: Facts = {"denoiser": {"condition": condition}, "codec": {}, "schedule": {}, "objective": {}}
    _network(transformer.child("params"), facts["denoiser"])
    _content(params, diffusion, facts)
    _noise(diffusion, facts)
    if condition == "text":
        nulls = (params.values.get("learnable_cf"), diffusion.values.get("learnable_cf"))
        if any(value is not None for value in nulls):
            facts["denoiser"]["learnable_null"] = any(nulls)
        _text(params, diffusion, facts)
    return facts


def _network(node: _Node, denoiser: dict[str, Any]) -> None:
    sizes = {"width": "n_embd", "num_layers": "n_layer", "num_heads": "n_head", "mlp_ratio": "mlp_hidden_times"}
    if denoiser["condition"] == "text":
        sizes |= {"condition_width": "condition_dim", "condition_length": "condition_seq_len"}
    elif denoiser["condition"] == "class":
        sizes |= {"num_classes": "class_number"}
    node.take(denoiser, sizes, int)
    node.take(denoiser, {"attention_dropout": "attn_pdrop", "residual_dropout": "resid_pdrop"}, float)
    for ours, theirs, choices in (
        ("mlp", "mlp_type", _MLPS),
        ("activation", "block_activate", _ACTIVATIONS),
        ("timestep_embedding", "timestep_type", _TIMESTEPS),
    ):
        if theirs in node.values:
            denoiser[ours] = node.choose(theirs, choices)
    if "class_type" in node.values:
        node.choose("class_type", {"adalayernorm": ""})
    node.take(denoiser, {"grid": "content_seq_len"}, _square)
    node.take(denoiser, {"grid": "content_spatial_size"}, _sides)


def _content(params: _Node, diffusion: _Node, facts: Facts) -> None:
    embedding, codec = diffusion.maybe("content_emb_config", "params"), params.maybe("content_codec_config", "params")
    embedding.take(facts["denoiser"], {"num_codes": "num_embed"}, int)
    embedding.take(facts["denoiser"], {"position_grid": "spatial_size"}, _sides)
    codec.take(facts["denoiser"], {"grid": "token_shape"}, _sides)
    codec.take(facts["codec"], {"codebook_size": "num_tokens"}, int)
    codec.take(facts["codec"], {"reduced_codebook_size": "quantize_number"}, lambda number: int(number) or None)


def _noise(diffusion: _Node, facts: Facts) -> None:
    diffusion.take(facts["denoiser"], {"num_timesteps": "diffusion_step"}, int)
    diffusion.take(facts["objective"], {"auxiliary_weight": "auxiliary_loss_weight"}, float)
    diffusion.take(
        facts["objective"],
        {"auxiliary_weighting": "adaptive_auxiliary_loss"},
        lambda adaptive: "decreasing" if adaptive else "constant",
    )
    diffusion.take(facts["objective"], {"masked_weight": "mask_weight"}, lambda weights: float(weights[0]))
    diffusion.take(facts["objective"], {"unmasked_weight": "mask_weight"}, lambda weights: float(weights[1]))
    if "alpha_init_type" in diffusion.values:
        diffusion.choose("alpha_init_type", {"alpha1": ""})


def _text(params: _Node, diffusion: _Node, facts: Facts) -> None:
    embedding, codec = (
        diffusion.maybe("condition_emb_config", "params"),
        params.maybe("condition_codec_config", "params"),
    )
    sections = {name: facts.setdefault(name, {}) for name in ("text_encoder", "text_embedding", "tokenizer")}
    embedding.take(sections["text_encoder"], {"vocab_size": "num_embed"}, int)
    flags = {
        "pick_last": "pick_last_embedding",
        "keep_length_axis": "keep_seq_len_dim",
        "additional_last": "additional_last_embedding",
    }
    embedding.take(sections["text_embedding"], {"normalize": "normalize", **flags}, bool)
    embedding.take(sections["text_embedding"], {"double": "embed_dim"}, lambda width: int(width) == _DOUBLED_WIDTH)
    codec.take(sections["tokenizer"], {"context_length": "context_length", "pad_token": "pad_value"}, int)
    codec.take(sections["tokenizer"], {"add_start_and_end": "add_start_and_end"}, bool)
    codec.maybe("tokenizer_config", "params").take(sections["tokenizer"], {"end_index": "end_idx"}, int)


def codec_facts(path: str | Path) -> dict[str, Any]:
    """The fields of VQGANConfig that a codec's yaml file tells.  Raises ConfigError if it describes another kind of codec."""
    model = _read(path).child("model")
    if model.target == "Net2NetTransformer":  # a prior over tokens; the codec is its first stage
        model = model.child("params", "first_stage_config")
    facts: dict[str, Any] = {"quantizer": model.choose("target", _QUANTIZERS)}
    params = model.child("params")
    network = params.child("encoder_config", "params") if facts["quantizer"] == "ema" else params.child("ddconfig")
    params.take(facts, {"codebook_size": "n_embed", "embed_dim": "embed_dim"}, int)
    sizes = {
        "channels": "ch",
        "num_res_blocks": "num_res_blocks",
        "z_channels": "z_channels",
        "image_channels": "in_channels",
    }
    network.take(facts, sizes, int)
    network.take(facts, {"dropout": "dropout"}, float)
    network.take(facts, {"channel_multipliers": "ch_mult"}, lambda multipliers: tuple(int(m) for m in multipliers))
    network.take(facts, {"image_size": "resolution"}, _side)
    if network.values.get("double_z"):
        raise ConfigError(
            f"{network.where}.double_z is true; a codec that predicts a mean and a variance is not supported"
        )
    if {"image_size", "channel_multipliers"} <= set(facts):
        levels = {facts["image_size"] // 2**i: i for i in range(len(facts["channel_multipliers"]))}
        network.take(
            facts,
            {"attention_levels": "attn_resolutions"},
            lambda sides: tuple(sorted(levels[side] for side in map(_side, sides) if side in levels)),
        )
    return facts


def _sides(value: Any) -> tuple[int, int]:
    height, width = value
    return int(height), int(width)


def _side(value: Any) -> int:
    """A resolution, given as one side or as two that are equal."""
    if isinstance(value, (list, tuple)):
        height, width = _sides(value)
        if height != width:
            raise ValueError(f"{value} is not square")
        return height
    return int(value)


def _square(length: Any) -> tuple[int, int]:
    side = math.isqrt(int(length))
    if side * side != int(length):
        raise ValueError(f"{length} is not a square")
    return side, side
