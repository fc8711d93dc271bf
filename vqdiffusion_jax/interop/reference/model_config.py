"""Fields of a reference model as a ModelConfig, with the releases' values for what no source tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...config import (
    CLIPTextConfig,
    DenoiserConfig,
    ModelConfig,
    ObjectiveConfig,
    SamplingDefaults,
    ScheduleConfig,
    TextEmbeddingConfig,
    TokenizerConfig,
    VQGANConfig,
    from_dict,
)
from ...presets import PRESETS
from ..codecs.rules import codec_config

NUM_HEADS = 16  # in every released denoiser; shapes do not tell
CLASSES_WITH_NULL = 1001  # ImageNet's and the null class: the reference's null label is 1000, whatever the model
BYTE_TOKENS = 256  # a CLIP vocabulary is the reference's end_idx and the 256 bytes within words


def model_config(fields: Mapping[str, Mapping[str, Any]]) -> ModelConfig:
    """Return the ModelConfig of these fields.

    Raises ConfigError if they cannot be those of one model, or lack what only a file of weights tells.
    """
    denoiser_fields = {"num_heads": NUM_HEADS, **fields["denoiser"]}
    grid = denoiser_fields["grid"] = _grid(denoiser_fields, fields["codec"])
    codec = codec_config(fields["codec"], grid=grid)
    condition = denoiser_fields["condition"]
    text: dict[str, Any] = {}
    if condition == "text":
        encoder = from_dict(CLIPTextConfig, fields.get("text_encoder", {}), where="text_encoder")
        embedding = from_dict(TextEmbeddingConfig, fields.get("text_embedding", {}), where="text_embedding")
        length = 1 if embedding.pick_last else encoder.context_length
        denoiser_fields = {"condition_length": length, **denoiser_fields}
        tokenizer = {
            "context_length": encoder.context_length,
            "end_index": encoder.vocab_size - BYTE_TOKENS,
            **fields.get("tokenizer", {}),
        }
        text = {
            "text_encoder": encoder,
            "text_embedding": embedding,
            "tokenizer": from_dict(TokenizerConfig, tokenizer, where="tokenizer"),
        }
    elif condition == "class":
        null = denoiser_fields.get("num_classes") == CLASSES_WITH_NULL
        denoiser_fields = {"learnable_null": null, **denoiser_fields}
    denoiser = from_dict(DenoiserConfig, denoiser_fields, where="denoiser")
    schedule = {"num_codes": denoiser.num_codes, "num_timesteps": denoiser.num_timesteps, **fields.get("schedule", {})}
    released_weight = 5.0e-4 if condition == "text" else 1.0e-3
    return ModelConfig(
        denoiser=denoiser,
        codec=codec,
        sampling=_sampling(denoiser, codec),
        schedule=from_dict(ScheduleConfig, schedule, where="schedule"),
        objective=from_dict(
            ObjectiveConfig, {"auxiliary_weight": released_weight, **fields.get("objective", {})}, where="objective"
        ),
        **text,
    )


def _sampling(denoiser: DenoiserConfig, codec: VQGANConfig) -> SamplingDefaults:
    """Return the settings that the authors document for the released model of that kind."""
    for released in PRESETS.values():
        theirs = released.denoiser
        same_kind = (theirs.condition, theirs.learnable_null) == (denoiser.condition, denoiser.learnable_null)
        if same_kind and released.codec.quantizer == codec.quantizer:
            return released.sampling
    return SamplingDefaults()


def _grid(denoiser: Mapping[str, Any], codec: Mapping[str, Any]) -> tuple[int, int]:
    """Return the grid of tokens: as told, else from the codec's picture size, else as in the releases.

    Released text models fill their position tables; the others use half of each side.
    """
    if "grid" in denoiser:
        return denoiser["grid"]
    if "image_size" in codec:
        side = codec["image_size"] // 2 ** (len(codec["channel_multipliers"]) - 1)
        return side, side
    height, width = denoiser.get("position_grid", (32, 32))
    return (height, width) if denoiser["condition"] == "text" else (max(height // 2, 1), max(width // 2, 1))
