"""The configuration of a denoiser's training; defaults are the reference's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ml_collections import ConfigDict

from ...config import ComputeConfig, ModelConfig, to_dict
from ...errors import ConfigError
from ...extensions import trust
from ...presets import preset
from ..config import EMAConfig, LearningRateConfig, LoRAConfig, OptimizerConfig, RunConfig, plain, run_config


@dataclass(frozen=True, kw_only=True)
class TrainConfig(RunConfig):
    """A denoiser's training run.

    frozen_dtype: the arithmetic of networks that run inside the step untrained.  A denoiser that LoRA adapts computes
    by ``compute``, and has its weights in ``frozen_dtype``.
    """

    model: ModelConfig
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    learning_rate: LearningRateConfig = field(default_factory=LearningRateConfig)
    ema: EMAConfig = field(default_factory=EMAConfig)
    compute: ComputeConfig = field(default_factory=lambda: ComputeConfig(dtype="bfloat16", remat=True))
    lora: LoRAConfig = field(default_factory=LoRAConfig)
    frozen_dtype: str = "float32"
    train_text_encoder: bool = False  # the text tower learns with the denoiser, for small towers that start untrained
    untrained_towers: bool = False  # allow a codec or text tower with random weights: for trying things out

    def __post_init__(self):
        super().__post_init__()
        if self.compute.param_dtype != "float32":
            raise ConfigError(
                f"TrainConfig.compute.param_dtype is {self.compute.param_dtype!r}; parameters are trained in float32"
            )
        if self.compute.fp8:
            raise ConfigError("TrainConfig.compute.fp8 is set; float8 is for sampling, gradients need more digits")
        ComputeConfig(dtype=self.frozen_dtype)  # checks the name
        if self.train_text_encoder and self.model.text_encoder is None:
            raise ConfigError("TrainConfig.train_text_encoder is set, but the model has no text tower")
        if self.lora.rank:
            self._check_lora()
        classes = self.model.denoiser.num_classes
        if wrong := [label for label in self.watch.labels if not 0 <= label < classes]:
            raise ConfigError(f"TrainConfig.watch.labels has {wrong[0]}; this model has {classes} classes")

    def _check_lora(self) -> None:
        if self.train_text_encoder:
            raise ConfigError(
                "TrainConfig.train_text_encoder is set, but LoRA adapts the denoiser alone; "
                "set train_text_encoder=False, or lora.rank=0"
            )
        if self.optimizer.name != "adamw":
            raise ConfigError(
                f"TrainConfig.optimizer.name is {self.optimizer.name!r}, but LoRA's factors are trained by AdamW; "
                "set optimizer.name='adamw'"
            )


def train_config(table: Mapping[str, Any] | ConfigDict) -> TrainConfig:
    """Return a nested mapping or ConfigDict as a TrainConfig; ``model`` may be the name of a preset.

    It is taken for the user's own, so that its noise schedule and objective may be classes outside the package.
    Raises ConfigError, one line, for an unknown or missing field or a value that cannot be.
    """
    values = plain(table)
    if isinstance(values.get("model"), str):
        values["model"] = to_dict(preset(values["model"]))
    config = run_config(TrainConfig, values)
    trust(config.model.schedule.name, config.model.objective.name)
    return config
