"""Options of a diffusers VQDiffusionPipeline as our ModelConfig, and back.

Sizes come from the config.json of each part.  An option that the other side's networks do not have is refused: reading
names the first, writing lists all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...config import (
    DenoiserConfig,
    ModelConfig,
    SamplingDefaults,
    ScheduleConfig,
    TextEmbeddingConfig,
    TokenizerConfig,
    VQGANConfig,
)
from ...errors import ConfigError, ConversionError
from ..clip.huggingface import TEXT_DEFAULTS, read_text_config
from ..files.json_options import JsonOptions
from .rules import NULL

VERSION = "0.42.1"  # of diffusers, whose layout is written

# Values of options that a config.json leaves out, as in diffusers' constructors.
_TRANSFORMER_DEFAULTS = {
    "num_attention_heads": 16,
    "attention_head_dim": 88,
    "in_channels": None,
    "num_layers": 1,
    "dropout": 0.0,
    "attention_bias": False,
    "patch_size": None,
    "activation_fn": "geglu",
    "only_cross_attention": False,
    "double_self_attention": False,
    "norm_type": "layer_norm",
    "norm_elementwise_affine": True,
    "norm_eps": 1e-5,
    "attention_type": "default",
    "caption_channels": None,
}
_CODEC_DEFAULTS = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"],
    "up_block_types": ["UpDecoderBlock2D"],
    "block_out_channels": [64],
    "layers_per_block": 1,
    "act_fn": "silu",
    "latent_channels": 3,
    "num_vq_embeddings": 256,
    "norm_num_groups": 32,
    "vq_embed_dim": None,
    "norm_type": "group",
    "mid_block_add_attention": True,
}
_SCHEDULER_DEFAULTS = {
    "num_train_timesteps": 100,
    "alpha_cum_start": 0.99999,
    "alpha_cum_end": 0.000009,
    "gamma_cum_start": 0.000009,
    "gamma_cum_end": 0.99999,
}
_NULL_DEFAULTS = {"hidden_size": None, "length": None}

_SCHEDULE_FIELDS = {
    "keep_start": "alpha_cum_start",
    "keep_end": "alpha_cum_end",
    "mask_start": "gamma_cum_start",
    "mask_end": "gamma_cum_end",
}
# "geglu-approximate" has no gate: it is x * sigmoid(1.702 x).
_ACTIVATIONS = {"geglu-approximate": "gelu2", "gelu": "gelu"}
# Defaults of the pipeline's call.
_SAMPLING = SamplingDefaults(guidance_scale=5.0, truncation_rate=1.0)
_DOWN_BLOCKS = ("DownEncoderBlock2D", "AttnDownEncoderBlock2D")  # index 1: the level attends
_UP_BLOCKS = ("UpDecoderBlock2D", "AttnUpDecoderBlock2D")


def read_model_config(folder: Path, tokenizer: TokenizerConfig) -> ModelConfig:
    """Return the model that a pipeline folder describes, with the default objective, which the folder does not tell.

    Raises:
        CheckpointError: for a config.json that is absent or unreadable.
        ConversionError: for one that disagrees with another part, or is of a network that ours cannot be.
    """
    transformer = JsonOptions.read(folder / "transformer" / "config.json", _TRANSFORMER_DEFAULTS)
    codec = JsonOptions.read(folder / "vqvae" / "config.json", _CODEC_DEFAULTS)
    scheduler = JsonOptions.read(folder / "scheduler" / "scheduler_config.json", _SCHEDULER_DEFAULTS)
    text_encoder = JsonOptions.read(folder / "text_encoder" / "config.json", TEXT_DEFAULTS)
    try:
        text = read_text_config(text_encoder)
        learnable = _has_null(folder, transformer, tokenizer)
        if tokenizer.context_length > text.context_length:
            raise ConversionError(
                f"{folder}: the tokenizer pads to {tokenizer.context_length}, "
                f"but the text encoder reads {text.context_length} tokens"
            )
        denoiser = _denoiser(transformer, scheduler, tokenizer.context_length, learnable)
        return ModelConfig(
            denoiser=denoiser,
            codec=_codec(codec, transformer.whole("sample_size"), denoiser.num_codes),
            schedule=_schedule(scheduler, denoiser.num_timesteps),
            text_encoder=text,
            text_embedding=TextEmbeddingConfig(),
            tokenizer=tokenizer,
            sampling=_SAMPLING,
        )
    except ConfigError as error:
        raise ConversionError(f"{folder}: {error}") from error


def read_codec_config(folder: Path, grid_side: int) -> VQGANConfig:
    """Return the codec that a ``vqvae`` folder describes, with all codes.  Raises what ``read_model_config`` does."""
    part = JsonOptions.read(folder / "config.json", _CODEC_DEFAULTS)
    try:
        return _codec(part, grid_side, part.whole("num_vq_embeddings"))
    except ConfigError as error:
        raise ConversionError(f"{folder}: {error}") from error


def _denoiser(part: JsonOptions, scheduler: JsonOptions, condition_length: int, learnable_null: bool) -> DenoiserConfig:
    for option in ("in_channels", "patch_size", "caption_channels"):
        part.require(option, None)
    for option in ("double_self_attention", "only_cross_attention"):
        part.require(option, False)
    part.require("attention_bias", True, False)
    part.require("norm_elementwise_affine", True)
    # Files from before norm_type hold "layer_norm"; with num_embeds_ada_norm it means "ada_norm".
    part.require("norm_type", "ada_norm", "layer_norm")
    part.require("norm_eps", 1e-5)
    part.require("attention_type", "default")
    side = part.whole("sample_size")
    return DenoiserConfig(
        condition="text",
        num_codes=part.whole("num_vector_embeds", at_least=2) - 1,
        grid=(side, side),
        position_grid=(side, side),
        width=part.whole("num_attention_heads") * part.whole("attention_head_dim"),
        num_layers=part.whole("num_layers"),
        num_heads=part.whole("num_attention_heads"),
        # A pipeline runs timesteps N - 1 .. 0, so it is sound as far as both tables reach.
        num_timesteps=min(part.whole("num_embeds_ada_norm"), scheduler.whole("num_train_timesteps")),
        activation=_ACTIVATIONS[part.require("activation_fn", *_ACTIVATIONS)],
        condition_width=part.whole("cross_attention_dim"),
        condition_length=condition_length,
        learnable_null=learnable_null,
        residual_dropout=part.number("dropout"),
    )


def _codec(part: JsonOptions, grid_side: int, num_codes: int) -> VQGANConfig:
    part.require("act_fn", "silu", "swish")
    part.require("norm_type", "group")
    part.require("mid_block_add_attention", True)
    channels, image_channels = part.items("block_out_channels", int), part.whole("in_channels")
    part.require("out_channels", image_channels)
    if odd := [c for c in channels if c % channels[0]]:
        raise ConversionError(
            f"{part.where}: block_out_channels has {odd[0]}, which is no multiple of the first, {channels[0]}"
        )
    down, up = part.items("down_block_types", _DOWN_BLOCKS), part.items("up_block_types", _UP_BLOCKS)
    attends = [_DOWN_BLOCKS.index(block) for block in down]
    if attends != [_UP_BLOCKS.index(block) for block in reversed(up)] or len(down) != len(channels):
        raise ConversionError(
            f"{part.where}: down_block_types, up_block_types (reversed) and block_out_channels must describe the same "
            f"levels, with attention at the same ones; they are {down}, {up}, {channels}"
        )
    latent, codes = part.whole("latent_channels"), part.whole("num_vq_embeddings")
    return VQGANConfig(
        # The nearest code in a table; sampling does not need to know how the table was trained.
        quantizer="vq",
        codebook_size=codes,
        # A denoiser may know only the first codes; one that knows more than there are is refused with the model.
        reduced_codebook_size=num_codes if num_codes < codes else None,
        embed_dim=latent if part.values["vq_embed_dim"] is None else part.whole("vq_embed_dim"),
        # The codec's own sample_size is 32 in every published folder, whatever the size of the pictures.
        image_size=grid_side * 2 ** (len(channels) - 1),
        channels=channels[0],
        channel_multipliers=tuple(c // channels[0] for c in channels),
        num_res_blocks=part.whole("layers_per_block"),
        attention_levels=tuple(level for level, attending in enumerate(attends) if attending),
        z_channels=latent,
        image_channels=image_channels,
        norm_groups=part.whole("norm_num_groups"),
    )


def _schedule(part: JsonOptions, num_timesteps: int) -> ScheduleConfig:
    """Return the first ``num_timesteps`` of the folder's schedule: a part of a line is a line with a nearer end."""
    ends = {ours: part.number(theirs) for ours, theirs in _SCHEDULE_FIELDS.items()}
    if num_timesteps < (steps := part.whole("num_train_timesteps")):
        for name in ("keep", "mask"):
            start, end = ends[f"{name}_start"], ends[f"{name}_end"]
            ends[f"{name}_end"] = start + (end - start) * (num_timesteps - 1) / (steps - 1)
    codes = part.whole("num_vec_classes", at_least=2) - 1
    return replace(ScheduleConfig(num_codes=codes, num_timesteps=num_timesteps), **ends)


def _has_null(folder: Path, transformer: JsonOptions, tokenizer: TokenizerConfig) -> bool:
    """Return True if there is a learned null condition; folders from before November 2022 lack the part altogether."""
    path = folder / NULL / "config.json"
    if not path.parent.is_dir():
        return False
    part = JsonOptions.read(path, _NULL_DEFAULTS)
    if not part.flag("learnable"):
        return False
    expected = (tokenizer.context_length, transformer.whole("cross_attention_dim"))
    if (size := (part.whole("length"), part.whole("hidden_size"))) != expected:
        raise ConversionError(
            f"{part.where}: length and hidden_size are {size}; the tokenizer and the transformer need {expected}"
        )
    return True


def obstacles(config: ModelConfig, *, first_codes: bool = False) -> list[str]:
    """Return the reasons why diffusers cannot hold this model; empty if it can.

    first_codes: the model keeps only some codes of its codec, and they are the first.
    """
    denoiser, codec = config.denoiser, config.codec
    checks = [
        (denoiser.condition == "text", f"condition={denoiser.condition!r}, where diffusers has text models only"),
        (denoiser.mlp == "dense", f"mlp={denoiser.mlp!r}, where diffusers has dense ones only"),
        (denoiser.mlp_ratio == 4, f"mlp_ratio={denoiser.mlp_ratio}, where diffusers has 4 only"),
        (
            denoiser.timestep_embedding == "learned",
            f"timestep_embedding={denoiser.timestep_embedding!r}, where diffusers learns it",
        ),
        (denoiser.grid[0] == denoiser.grid[1], f"grid={denoiser.grid}, where diffusers has squares only"),
        (
            denoiser.position_grid == denoiser.grid,
            f"position_grid={denoiser.position_grid} with grid={denoiser.grid}, where diffusers has one size for both",
        ),
        (
            codec.quantizer in ("vq", "ema"),
            f"quantizer={codec.quantizer!r}, where diffusers takes the nearest code only",
        ),
        (
            codec.reduced_codebook_size is None or first_codes,
            f"reduced_codebook_size={codec.reduced_codebook_size}, where diffusers keeps the first codes or all",
        ),
        (
            codec.encoder_window is None,
            f"encoder_window={codec.encoder_window}, where diffusers encodes pictures whole",
        ),
        (
            codec.channel_multipliers[0] == 1,
            f"channel_multipliers={codec.channel_multipliers}, where diffusers' first level is as wide as conv_in",
        ),
        (
            config.schedule.name == "alpha1",
            f"the noise schedule {config.schedule.name}, where diffusers knows alpha1 alone",
        ),
        (config.schedule.denominator == "num_codes", f"a schedule with denominator={config.schedule.denominator!r}"),
        (
            config.text_embedding in (None, TextEmbeddingConfig()),
            f"{config.text_embedding}, where diffusers takes all states, normalised",
        ),
        (config.tokenizer is None or config.tokenizer.add_start_and_end, "a tokenizer without start and end tokens"),
    ]
    return [reason for fits, reason in checks if not fits]


def part_configs(config: ModelConfig) -> dict[str, dict[str, Any]]:
    """Return model_index.json and the config.json of all parts but text encoder and tokenizer, by path."""
    denoiser, codec, schedule = config.denoiser, config.codec, config.schedule
    attends = [level in codec.attention_levels for level in range(len(codec.channel_multipliers))]
    return {
        "model_index.json": _typed(
            "VQDiffusionPipeline",
            {
                NULL: ["diffusers", "LearnedClassifierFreeSamplingEmbeddings"],
                "scheduler": ["diffusers", "VQDiffusionScheduler"],
                "text_encoder": ["transformers", "CLIPTextModel"],
                "tokenizer": ["transformers", "CLIPTokenizer"],
                "transformer": ["diffusers", "Transformer2DModel"],
                "vqvae": ["diffusers", "VQModel"],
            },
        ),
        "transformer/config.json": _typed(
            "Transformer2DModel",
            {
                "activation_fn": {ours: theirs for theirs, ours in _ACTIVATIONS.items()}[denoiser.activation],
                "attention_bias": True,
                "attention_head_dim": denoiser.head_width,
                "cross_attention_dim": denoiser.condition_width,
                "dropout": denoiser.residual_dropout,
                "in_channels": None,
                "norm_num_groups": 32,  # for pictures as input; unused here
                "norm_type": "ada_norm",
                "num_attention_heads": denoiser.num_heads,
                "num_embeds_ada_norm": denoiser.num_timesteps,
                "num_layers": denoiser.num_layers,
                "num_vector_embeds": denoiser.num_codes + 1,
                "sample_size": denoiser.grid[0],
            },
        ),
        "vqvae/config.json": _typed(
            "VQModel",
            {
                "act_fn": "silu",
                "block_out_channels": [codec.channels * multiplier for multiplier in codec.channel_multipliers],
                "down_block_types": [_DOWN_BLOCKS[attending] for attending in attends],
                "in_channels": codec.image_channels,
                "latent_channels": codec.z_channels,
                "layers_per_block": codec.num_res_blocks,
                "norm_num_groups": codec.norm_groups,
                "num_vq_embeddings": codec.codebook_size,
                "out_channels": codec.image_channels,
                "sample_size": 32,
                "up_block_types": [_UP_BLOCKS[attending] for attending in reversed(attends)],
                "vq_embed_dim": codec.embed_dim,
            },
        ),
        "scheduler/scheduler_config.json": _typed(
            "VQDiffusionScheduler",
            {
                "num_train_timesteps": schedule.num_timesteps,
                "num_vec_classes": schedule.num_codes + 1,
                **{theirs: getattr(schedule, ours) for ours, theirs in _SCHEDULE_FIELDS.items()},
            },
        ),
        f"{NULL}/config.json": _typed(
            "LearnedClassifierFreeSamplingEmbeddings",
            {
                "hidden_size": denoiser.condition_width if denoiser.learnable_null else None,
                "learnable": denoiser.learnable_null,
                "length": denoiser.condition_length if denoiser.learnable_null else None,
            },
        ),
    }


def _typed(class_name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    return {"_class_name": class_name, "_diffusers_version": VERSION, **options}
