"""The reference's model files (configs/*.yaml) as fields of ModelConfig.

A file may leave out what the reference's classes have defaults for.  Such fields are kept apart, because weights that
tell them are right.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

from ...config import ModelConfig, mlp_ratio
from ...errors import ConfigError, shown
from ...presets import CODECS
from ..clip.openai_rules import HEAD_WIDTH
from ..codecs.yaml_file import codec_fields_of_yaml
from ..engine.fields import Fields, with_defaults
from ..files.yaml_table import YamlTable, sides, square
from .model_config import model_config

_CONDITIONS = {
    "Text2ImageTransformer": "text",
    "Condition2ImageTransformer": "class",
    "UnCondition2ImageTransformer": "none",
}
_ACTIVATIONS = {"GELU2": "gelu2", "GELU": "gelu"}
_DOUBLED_WIDTH = 1024  # condition_emb.embed_dim at which the reference concatenates CLIP's feature with itself


class _Codec(NamedTuple):
    """Defaults of one of the reference's codec classes."""

    preset: str  # the released codec that it reads
    num_tokens: int
    quantize_number: int
    mapping_path: str | None = None


_CODEC_CLASSES = {
    "TamingGumbelVQVAE": _Codec("openimages_f8_8192", 8192, 2887, "./help_folder/statistics/taming_vqvae_2887.pt"),
    "TamingVQVAE": _Codec("imagenet_f16_16384", 16384, 974, "./help_folder/statistics/taming_vqvae_974.pt"),
    "TamingFFHQVQVAE": _Codec("ffhq_f16_1024", 1024, 0),
    "PatchVQVAE": _Codec("ithq_f8_4096", 4096, 0),
}
# Defaults of the transformer classes, as our fields.
_TRANSFORMERS: dict[str, dict[str, Any]] = {
    "text": {"width": 1024, "num_layers": 14, "condition_width": 512, "mlp": "dense"},
    "class": {"width": 1024, "num_layers": 24, "num_classes": 1000, "mlp": "conv"},
    "none": {"width": 512, "num_layers": 24, "mlp": "conv"},
}
_NUM_HEADS, _MLP_TIMES = 16, 4  # of all three


class ModelFile(NamedTuple):
    """A model file: the fields that it sets, and those that it leaves to the defaults of the reference's classes."""

    fields: Fields
    defaults: Fields


def codec_files(path: str | Path) -> dict[str, str]:
    """Return the files that a model file names for its codec: "codec_config", and "mapping" if it keeps some codes."""
    table = YamlTable.read(path).child("model", "params").maybe("content_codec_config")
    codec, params = _CODEC_CLASSES.get(table.target), table.maybe("params").values
    named = {"codec_config": params.get("config_path")}
    if params.get("quantize_number", codec.quantize_number if codec else 0):
        named["mapping"] = params.get("mapping_path", codec.mapping_path if codec else None)
    return {role: name for role, name in named.items() if isinstance(name, str) and name != "None"}


def config_from_yaml(path: str | Path, codec: str | Path | None = None) -> ModelConfig:
    """Return the ModelConfig of a reference model file.

    Args:
        path: configs/*.yaml or a released config_*.yaml.
        codec: the codec's own yaml; None takes the released codec that the model file names.

    Raises:
        ConfigError: if a file cannot be read or describes what is not supported.
    """
    fields = with_defaults(*read_model_file(path))
    if codec is None:
        table = YamlTable.read(path).child("model", "params", "content_codec_config")
        described = dataclasses.asdict(CODECS[table.choose("target", _CODEC_CLASSES).preset])
        del described["reduced_codebook_size"], described["image_size"]  # the model file tells these
    else:
        described = codec_fields_of_yaml(codec)
    fields["codec"] = {**described, **fields["codec"]}
    if "text_encoder" in fields:  # the condition is as wide as CLIP, which the file only names, or twice as wide
        width = fields["denoiser"]["condition_width"] // (2 if fields["text_embedding"].get("double") else 1)
        heads = max(width // HEAD_WIDTH, 1)
        fields["text_encoder"] |= {"width": width, "num_heads": heads, "projection_width": width}
    return model_config(fields)


def read_model_file(path: str | Path) -> ModelFile:
    """Read a model file.  Raises ConfigError if it cannot be read or describes what is not supported."""
    params = YamlTable.read(path).child("model", "params")
    diffusion = params.child("diffusion_config", "params")
    transformer = diffusion.child("transformer_config")
    condition = transformer.choose("target", _CONDITIONS)
    file = ModelFile(
        {"denoiser": {"condition": condition}, "codec": {}, "schedule": {}, "objective": {}},
        {"denoiser": {**_TRANSFORMERS[condition], "num_heads": _NUM_HEADS, "mlp_ratio": _MLP_TIMES}},
    )
    _network(transformer.child("params"), file)
    _content(params, diffusion, file)
    _noise(diffusion, file)
    if condition == "text":
        nulls = (params.values.get("learnable_cf"), diffusion.values.get("learnable_cf"))
        if any(value is not None for value in nulls):
            file.fields["denoiser"]["learnable_null"] = any(nulls)
        _text(params, diffusion, file)
    return file


def _network(table: YamlTable, file: ModelFile) -> None:
    denoiser, condition = file.fields["denoiser"], file.fields["denoiser"]["condition"]
    sizes = {"width": "n_embd", "num_layers": "n_layer", "num_heads": "n_head"}
    if condition == "text":
        sizes |= {"condition_width": "condition_dim", "condition_length": "condition_seq_len"}
    elif condition == "class":
        sizes |= {"num_classes": "class_number"}
    table.take(denoiser, sizes, int)
    width = denoiser.get("width", file.defaults["denoiser"]["width"])
    # The reference rounds the hidden width down.
    table.take(denoiser, {"mlp_ratio": "mlp_hidden_times"}, lambda times: mlp_ratio(int(float(times) * width), width))
    table.take(denoiser, {"attention_dropout": "attn_pdrop", "residual_dropout": "resid_pdrop"}, float)
    if "block_activate" in table.values:
        denoiser["activation"] = table.choose("block_activate", _ACTIVATIONS)
    if "mlp_type" in table.values:
        denoiser["mlp"] = "conv" if table.values["mlp_type"] == "conv_mlp" else "dense"
    # The reference looks for these words inside the names.
    if (kind := table.values.get("timestep_type")) is not None:
        if "adalayernorm" not in str(kind):
            raise ConfigError(
                f"{table.where}.timestep_type is {shown(kind)}; supported: adalayernorm, adalayernorm_abs"
            )
        denoiser["timestep_embedding"] = _embedding(kind)
    if condition == "class" and (kind := table.values.get("class_type")) is not None:
        denoiser["class_embedding"] = _embedding(kind)
        denoiser["class_norm"] = "layer" if "adalayernorm" in str(kind) else "instance"
    # content_spatial_size is read by none of the reference's blocks.
    table.take(denoiser, {"grid": "content_seq_len"}, square)


def _embedding(kind: Any) -> str:
    return "sinusoidal" if "abs" in str(kind) else "learned"


def _content(params: YamlTable, diffusion: YamlTable, file: ModelFile) -> None:
    embedding = diffusion.maybe("content_emb_config", "params")
    embedding.take(file.fields["denoiser"], {"num_codes": "num_embed"}, int)
    embedding.take(file.fields["denoiser"], {"position_grid": "spatial_size"}, sides)
    codec = params.maybe("content_codec_config")
    if codec.target in _CODEC_CLASSES:
        theirs = _CODEC_CLASSES[codec.target]
        file.defaults["codec"] = {
            "codebook_size": theirs.num_tokens,
            "reduced_codebook_size": theirs.quantize_number or None,
        }
    table = codec.maybe("params")
    table.take(file.fields["denoiser"], {"grid": "token_shape"}, sides)
    table.take(file.fields["codec"], {"codebook_size": "num_tokens"}, int)
    table.take(file.fields["codec"], {"reduced_codebook_size": "quantize_number"}, lambda number: int(number) or None)


def _noise(diffusion: YamlTable, file: ModelFile) -> None:
    objective = file.fields["objective"]
    file.defaults["objective"] = {"auxiliary_weight": 0.0, "auxiliary_weighting": "constant"}
    diffusion.take(file.fields["denoiser"], {"num_timesteps": "diffusion_step"}, int)
    diffusion.take(objective, {"auxiliary_weight": "auxiliary_loss_weight"}, float)
    diffusion.take(
        objective,
        {"auxiliary_weighting": "adaptive_auxiliary_loss"},
        lambda adaptive: "decreasing" if adaptive else "constant",
    )
    diffusion.take(objective, {"masked_weight": "mask_weight"}, lambda weights: float(weights[0]))
    diffusion.take(objective, {"unmasked_weight": "mask_weight"}, lambda weights: float(weights[1]))
    if "alpha_init_type" in diffusion.values:
        diffusion.choose("alpha_init_type", {"alpha1": ""})


def _text(params: YamlTable, diffusion: YamlTable, file: ModelFile) -> None:
    encoder: dict[str, Any] = {}
    embedding: dict[str, Any] = {}
    tokenizer: dict[str, Any] = {}
    file.fields.update(text_encoder=encoder, text_embedding=embedding, tokenizer=tokenizer)
    clip = diffusion.maybe("condition_emb_config", "params")
    if clip.values:
        file.defaults["text_embedding"] = {"pick_last": True, "double": True}
    clip.take(encoder, {"vocab_size": "num_embed"}, int)
    flags = {
        "normalize": "normalize",
        "pick_last": "pick_last_embedding",
        "keep_length_axis": "keep_seq_len_dim",
        "additional_last": "additional_last_embedding",
    }
    clip.take(embedding, flags, bool)
    clip.take(embedding, {"double": "embed_dim"}, lambda width: int(width) == _DOUBLED_WIDTH)
    codec = params.maybe("condition_codec_config", "params")
    if codec.values:
        file.defaults["tokenizer"] = {"add_start_and_end": False}
    codec.take(tokenizer, {"context_length": "context_length", "pad_token": "pad_value"}, int)
    codec.take(tokenizer, {"add_start_and_end": "add_start_and_end"}, bool)
    codec.maybe("tokenizer_config", "params").take(tokenizer, {"end_index": "end_idx"}, int)
