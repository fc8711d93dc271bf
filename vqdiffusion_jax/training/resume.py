"""The settings of a run that goes on: those that may change, and those that the state in a checkpoint fixes.

A checkpoint holds the configuration that it was trained with.  ``changes`` compares it with the one that a run is
started with; ``refuse`` raises for fields that cannot change, and ``adapt`` carries the others into the state.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import jax

from ..config import (
    CLIPTextConfig,
    ComputeConfig,
    DenoiserConfig,
    ObjectiveConfig,
    SamplingDefaults,
    ScheduleConfig,
    TextEmbeddingConfig,
    TokenizerConfig,
    VQGANConfig,
)
from ..data.config import DataConfig
from ..errors import ConfigError, and_more
from . import learning_rate
from .config import (
    CheckpointConfig,
    EMAConfig,
    LearningRateConfig,
    LoRAConfig,
    MeshConfig,
    OptimizerConfig,
    RunConfig,
    WatchConfig,
    to_table,
)
from .denoiser.config import TrainConfig
from .vqgan.config import CodebookConfig, DiscriminatorConfig, ReconstructionConfig, VQGANTrainConfig

_RUN_APPLIED = ("steps", "accumulation", "workers")
_RUN_KEPT = ("batch_size", "seed")  # they decide which examples a position of the data means

# Fields that apply from the next step on, by configuration.
APPLIED: dict[type, tuple[str, ...]] = {
    TrainConfig: (*_RUN_APPLIED, "frozen_dtype", "untrained_towers"),
    VQGANTrainConfig: (*_RUN_APPLIED, "decoder_only"),
    DataConfig: (
        "source",
        "root",
        "options",
        "background",
        "missing_captions",
        "cache",
        "drop_rate",
        "max_broken",
        "read_threads",
        "prefetch_batches",
    ),
    MeshConfig: ("data", "fsdp", "tensor"),
    CheckpointConfig: ("every", "keep_last", "keep_best"),
    WatchConfig: (
        "log_every",
        "eval_every",
        "eval_batches",
        "sample_every",
        "prompts",
        "labels",
        "num_samples",
        "sample_seed",
        "report_to",
    ),
    OptimizerConfig: ("b1", "b2", "epsilon", "clip_norm", "weight_decay", "decayed"),
    LearningRateConfig: (
        "schedule",
        "start",
        "peak",
        "warmup_steps",
        "floor",
        "patience",
        "threshold",
        "factor",
        "total_steps",
    ),
    EMAConfig: ("decay", "interval"),
    ComputeConfig: ("dtype", "param_dtype", "attention", "scan_layers", "remat", "fp8"),
    ReconstructionConfig: ("l1", "l2", "perceptual", "vgg", "lins"),
    CodebookConfig: (
        "weight",
        "commitment",
        "decay",
        "restart_below",
        "kl_weight",
        "temperature_start",
        "temperature_end",
        "temperature_steps",
    ),
    DiscriminatorConfig: ("weight", "start", "adaptive", "loss"),
    SamplingDefaults: ("guidance_scale", "truncation_rate", "strategy", "strategy_options"),
    ObjectiveConfig: ("auxiliary_weight", "auxiliary_weighting", "masked_weight", "unmasked_weight"),
    DenoiserConfig: ("attention_dropout", "residual_dropout"),
    VQGANConfig: ("dropout",),
}
# Fields that shape the state, or that its weights were trained for.
KEPT: dict[type, tuple[str, ...]] = {
    TrainConfig: (*_RUN_KEPT, "train_text_encoder"),
    VQGANTrainConfig: _RUN_KEPT,
    DataConfig: ("validation_fraction",),  # another share would train on what was held out
    OptimizerConfig: ("name",),
    LoRAConfig: ("rank", "alpha", "targets"),
    ObjectiveConfig: ("name", "options"),
    DiscriminatorConfig: ("channels", "num_layers", "norm_groups"),
    ScheduleConfig: (
        "num_codes",
        "num_timesteps",
        "name",
        "options",
        "keep_start",
        "keep_end",
        "mask_start",
        "mask_end",
        "denominator",
    ),
    DenoiserConfig: (
        "condition",
        "num_codes",
        "grid",
        "width",
        "num_layers",
        "num_heads",
        "num_timesteps",
        "position_grid",
        "mlp",
        "mlp_ratio",
        "activation",
        "timestep_embedding",
        "condition_width",
        "condition_length",
        "num_classes",
        "class_embedding",
        "class_norm",
        "learnable_null",
    ),
    VQGANConfig: (
        "quantizer",
        "codebook_size",
        "embed_dim",
        "image_size",
        "channels",
        "channel_multipliers",
        "num_res_blocks",
        "attention_levels",
        "z_channels",
        "image_channels",
        "norm_groups",
        "reduced_codebook_size",
        "encoder_window",
        "levels",
        "network",
    ),
    CLIPTextConfig: (
        "vocab_size",
        "context_length",
        "width",
        "num_layers",
        "num_heads",
        "mlp_ratio",
        "projection_width",
        "activation",
    ),
    TextEmbeddingConfig: ("normalize", "pick_last", "keep_length_axis", "double", "additional_last"),
    TokenizerConfig: ("end_index", "context_length", "pad_token", "add_start_and_end"),
}
# The loss is another one after a change of these, so that a plateau compares with no loss from before.
_OF_THE_LOSS = (ObjectiveConfig, ReconstructionConfig, CodebookConfig, DiscriminatorConfig)
_SHOWN = 3  # fields that a message tells
_LONGEST = 60  # characters of a value in a message


@dataclass(frozen=True)
class Change:
    """A field of the configuration ``owner`` with another value than the run was trained with."""

    name: str  # dotted, as after --config.
    owner: type
    before: Any
    now: Any

    @property
    def applies(self) -> bool:
        """True if a run can go on with it."""
        if self.owner is DiscriminatorConfig and self.name.endswith(".weight"):
            return bool(self.before) == bool(self.now)  # 0: there is no discriminator in the state
        return self.name.rpartition(".")[2] in APPLIED.get(self.owner, ())

    def __str__(self) -> str:
        return f"{self.name} {_short(self.before)} -> {_short(self.now)}"


def nested(cls: type) -> dict[str, type]:
    """Return the fields of a configuration that are configurations themselves, and their classes."""
    found: dict[str, type] = {"data": DataConfig} if issubclass(cls, RunConfig) else {}
    for name, hint in get_type_hints(cls).items():
        options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        for option in options:
            if option is not NoneType and dataclasses.is_dataclass(option) and isinstance(option, type):
                found[name] = option
    return found


def saved_with(config: RunConfig) -> dict[str, Any]:
    """Return a configuration as plain JSON, to be saved beside the state."""
    return json.loads(json.dumps(to_table(config), default=str))


def changes(before: Mapping[str, Any], config: RunConfig) -> list[Change]:
    """Return the fields that differ from ``saved_with`` of an earlier run; a field that it lacks counts as equal."""
    return list(_changes(before, saved_with(config), type(config), ""))


def _changes(before: Mapping[str, Any], now: Mapping[str, Any], cls: type, where: str) -> Iterator[Change]:
    inner = nested(cls)
    if cls is DataConfig:  # a table of some of its fields
        defaults = {f.name: f.default for f in dataclasses.fields(cls) if f.default is not dataclasses.MISSING}
        before, now = defaults | {"options": {}, **before}, defaults | {"options": {}, **now}
    for name, value in now.items():
        if name not in before or before[name] == value:
            continue
        if name in inner and isinstance(before[name], Mapping) and isinstance(value, Mapping):
            yield from _changes(before[name], value, inner[name], f"{where}{name}.")
        else:
            yield Change(where + name, cls, before[name], value)


def refuse(found: list[Change], folder: Path) -> None:
    """Raise ConfigError, one line, if a change is among those that the state in ``folder`` does not allow."""
    fixed = [change for change in found if not change.applies]
    if fixed:
        raise ConfigError(
            f"the run in {folder} cannot go on with another {listed(fixed)}; set it back, or start anew in another "
            "--workdir, from trained weights with --init_from=MODEL"
        )


def refuse_networks(before: Mapping[str, str], now: Mapping[str, str], folder: Path) -> None:
    """Raise ConfigError if a network that is not trained is another one than the run was trained with."""
    for name, digest in now.items():
        if before.get(name, digest) != digest:
            raise ConfigError(
                f"the run in {folder} was trained with another {name}: its weights had the fingerprint "
                f"{before[name][:12]}, now it is {digest[:12]}; give the one it was trained with, or start anew in "
                "another --workdir, from trained weights with --init_from=MODEL"
            )


def refuse_fewer_steps(config: RunConfig, done: int, folder: Path) -> None:
    """Raise ConfigError if the run has taken more steps than are asked for."""
    if config.steps < done:
        raise ConfigError(
            f"steps is {config.steps}, but the run in {folder} has taken {done}; give at least {done}, with which its "
            "model is only written"
        )


def adapt(state: Any, before: Mapping[str, Any], config: Any, found: list[Change]) -> Any:
    """Return the state with its learning rate as the changed configuration has it; all else applies by itself."""
    of_rate = any(change.owner is LearningRateConfig for change in found)
    of_loss = any(change.owner in _OF_THE_LOSS for change in found)
    if not (of_rate or of_loss):
        return state
    then = LearningRateConfig(**dataclasses.asdict(config.learning_rate) | dict(before.get("learning_rate", {})))
    made = learning_rate.resumed(then, config.learning_rate, state.learning_rate, forget=of_loss)
    placed = jax.tree.map(lambda new, old: jax.device_put(new, old.sharding), made, state.learning_rate)
    return dataclasses.replace(state, learning_rate=placed)


def listed(found: list[Change]) -> str:
    """Return the changes in one line."""
    return and_more(list(map(str, found[:_SHOWN])), len(found), "; ")


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
