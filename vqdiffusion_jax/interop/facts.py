"""What is known of a model, field by field, before it is a ModelConfig: from shapes, from a yaml file, from the releases.

Facts are ``{section: {field: value}}`` with the sections of ModelConfig.  What
shapes tell and what a yaml says must agree; what neither tells is as in every release.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..config import (
    CLIPTextConfig,
    DenoiserConfig,
    ModelConfig,
    ObjectiveConfig,
    SamplingDefaults,
    ScheduleConfig,
    TextEmbeddingConfig,
    TokenizerConfig,
    VQGANConfig,
)
from ..errors import ConfigError
from ..presets import PRESETS
from .codec_rules import make_config

Facts = dict[str, dict[str, Any]]

NUM_HEADS = 16  # in every released denoiser; shapes do not tell
CLASSES_WITH_NULL = 1001  # ImageNet's and the null class: the reference's null label is 1000, whatever the model
BYTE_TOKENS = 256  # a CLIP vocabulary is the reference's end_idx and the 256 bytes within words


def merge(shapes: Mapping[str, Mapping[str, Any]], yaml: Mapping[str, Mapping[str, Any]], *, where: str) -> Facts:
    """Both, section by section.  Raises ConfigError, one line, naming every field on which they disagree."""
    clashes = [
        f"{section}.{field} is {yaml[section][field]!r} in the yaml and {shapes[section][field]!r} in the weights"
        for section in yaml
        for field in yaml[section]
        if field in shapes.get(section, {}) and shapes[section][field] != yaml[section][field]
    ]
    if clashes:
        raise ConfigError(
            f"{where} does not describe these weights: {'; '.join(clashes)}; give the yaml they were trained with, or none"
        )
    return {section: {**yaml.get(section, {}), **shapes.get(section, {})} for section in {**shapes, **yaml}}


def model_config(facts: Mapping[str, Mapping[str, Any]]) -> ModelConfig:
    """The ModelConfig that facts describe, with the releases' values for what they leave open.

    Raises:
        ConfigError: if they cannot be those of one model.
    """
    known = dict(facts["denoiser"])
    text = known["condition"] == "text"
    known.setdefault("num_heads", NUM_HEADS)
    grid = known.setdefault("grid", _default_grid(known))
    encoder = CLIPTextConfig(**facts.get("text_encoder", {})) if text else None
    if text:
        known.setdefault("condition_length", encoder.context_length)
    elif known["condition"] == "class":
        known.setdefault("learnable_null", known["num_classes"] == CLASSES_WITH_NULL)
    denoiser = DenoiserConfig(**known)
    tokenizer = {"context_length": denoiser.condition_length, **facts.get("tokenizer", {})}
    if text:
        tokenizer.setdefault("end_index", encoder.vocab_size - BYTE_TOKENS)
    schedule = {"num_codes": denoiser.num_codes, "num_timesteps": denoiser.num_timesteps, **facts.get("schedule", {})}
    codec = make_config(facts["codec"], grid=grid)
    return ModelConfig(
        denoiser=denoiser,
        codec=codec,
        sampling=_sampling(denoiser, codec),
        schedule=ScheduleConfig(**schedule),
        objective=ObjectiveConfig(**{"auxiliary_weight": 5.0e-4 if text else 1.0e-3, **facts.get("objective", {})}),
        text_encoder=encoder,
        text_embedding=TextEmbeddingConfig(**facts.get("text_embedding", {})) if text else None,
        tokenizer=TokenizerConfig(**tokenizer) if text else None,
    )


def _sampling(denoiser: DenoiserConfig, codec: VQGANConfig) -> SamplingDefaults:
    """What the authors document for the released model of that kind."""
    for released in PRESETS.values():
        theirs = released.denoiser
        same_kind = (theirs.condition, theirs.learnable_null) == (denoiser.condition, denoiser.learnable_null)
        if same_kind and released.codec.quantizer == codec.quantizer:
            return released.sampling
    return SamplingDefaults()


def _default_grid(denoiser: Mapping[str, Any]) -> tuple[int, int]:
    """Text models fill their position tables; the others, as released, use half of each side."""
    height, width = denoiser.get("position_grid", (32, 32))
    return (height, width) if denoiser["condition"] == "text" else (max(height // 2, 1), max(width // 2, 1))
