"""A training run's configuration, as frozen dataclasses that check themselves; defaults are the reference's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ml_collections import ConfigDict

from ..checks import MOST_AT_ONCE, check, number, one_of, texts, whole
from ..config import from_dict
from ..errors import ConfigError
from .sinks.sink import check_sinks

_Config = TypeVar("_Config")

LEARNING_RATE_SCHEDULES = ("plateau", "cosine")
DECAYED = ("all", "matrices")
OPTIMIZERS = ("adamw", "muon")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW after clipping by the global norm; ``name="muon"`` moves the weights inside blocks by Muon instead."""

    name: str = "adamw"
    b1: float = 0.9
    b2: float = 0.96
    epsilon: float = 1.0e-8
    clip_norm: float = 0.5
    weight_decay: float = 0.045
    decayed: str = "all"  # "matrices" spares biases, norms, embeddings and the null condition; the reference decays all

    def __post_init__(self):
        one_of(self, "name", OPTIMIZERS)
        number(self, 0.0, 0.999999, "b1", "b2")
        number(self, 0.0, 1.0, "epsilon", "weight_decay")
        check(self, self.clip_norm > 0, "clip_norm", "it must be above 0")
        one_of(self, "decayed", DECAYED)


@dataclass(frozen=True, kw_only=True)
class LearningRateConfig:
    """Linear from ``start`` to ``peak`` over ``warmup_steps``, then by ``schedule``."""

    schedule: str = "plateau"
    start: float = 3.0e-6
    peak: float = 2.0e-4
    warmup_steps: int = 1000
    floor: float = 1.0e-6
    patience: int = 60_000  # plateau: steps without improvement before a reduction
    threshold: float = 0.1  # plateau: an improvement is a loss below best * (1 - threshold)
    factor: float = 0.5  # plateau: a reduction multiplies the rate by it
    total_steps: int = 0  # cosine: the step at which it ends

    def __post_init__(self):
        one_of(self, "schedule", LEARNING_RATE_SCHEDULES)
        number(self, 0.0, 1.0, "start", "peak", "floor", "threshold", "factor")
        whole(self, 0, "warmup_steps", "patience", "total_steps")
        if self.schedule == "cosine":
            check(
                self,
                self.total_steps > self.warmup_steps,
                "total_steps",
                f"a cosine must end after its warm-up of {self.warmup_steps}",
            )


@dataclass(frozen=True, kw_only=True)
class EMAConfig:
    """Average of the parameters, for sampling: every ``interval`` steps, ema <- decay ema + (1 - decay) parameters."""

    decay: float = 0.99
    interval: int = 25

    def __post_init__(self):
        number(self, 0.0, 1.0, "decay")
        whole(self, 1, "interval")


@dataclass(frozen=True, kw_only=True)
class LoRAConfig:
    """Low-rank adapters that are trained in place of the denoiser; with rank 0 the denoiser itself is trained.

    targets: the linear layers inside blocks that are adapted, by the ends of their paths: "query", "key", "value" and
    "out" of self and cross attention, "up" and "down" of the MLP, or of one part alone, "cross_attention.query".
    """

    rank: int = 0
    alpha: float = 8.0  # an update is multiplied by alpha / rank
    targets: tuple[str, ...] = ("query", "key", "value", "out")

    def __post_init__(self):
        whole(self, 0, "rank")
        number(self, 0.0, 1.0e6, "alpha")
        texts(self, "targets")
        check(self, len(self.targets) > 0, "targets", "name at least one layer, such as 'query'")


@dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """Sizes of the device mesh; -1 takes what the others leave."""

    data: int = -1
    fsdp: int = 1
    tensor: int = 1


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """Checkpoints: how often one is written, and which are kept."""

    every: int = 1000
    keep_last: int = 2
    keep_best: int = 1  # by the task's validation score; 0 keeps none for that

    def __post_init__(self):
        whole(self, 1, "every", "keep_last")
        whole(self, 0, "keep_best")


@dataclass(frozen=True, kw_only=True)
class WatchConfig:
    """Records, validation and sample pictures during training; ``*_every`` is a number of steps, 0 for never."""

    log_every: int = 100
    eval_every: int = 0
    eval_batches: int = 8  # each costs num_timesteps forward passes
    sample_every: int = 0
    prompts: tuple[str, ...] = ()  # text models
    labels: tuple[int, ...] = ()  # class models
    num_samples: int = 4  # pictures for each prompt or label; of unconditional models, in all
    sample_seed: int = 0
    report_to: tuple[str, ...] = ()  # "tensorboard", "wandb", "mlflow", "trackio", or module:Class (see ``sinks``)

    def __post_init__(self):
        whole(self, 1, "log_every", "eval_batches", "num_samples")
        whole(self, 0, "eval_every", "sample_every", "sample_seed")
        texts(self, "prompts", "report_to")
        names = (name.strip() for text in self.report_to for name in text.split(","))  # a flag may list them so
        object.__setattr__(self, "report_to", tuple(dict.fromkeys(name for name in names if name)))
        check_sinks(self.report_to)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The fields that the loop reads; each task's configuration adds its own.

    ``batch_size`` counts samples over all devices and accumulation rounds.
    ``data`` is a table of ``data.config.DataConfig``'s fields.
    """

    batch_size: int
    steps: int
    data: dict[str, Any] = field(default_factory=dict)
    accumulation: int = 1
    mesh: MeshConfig = field(default_factory=MeshConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    watch: WatchConfig = field(default_factory=WatchConfig)
    workers: int = 4
    seed: int = 0

    def __post_init__(self):
        whole(self, 1, "batch_size", "steps", "accumulation")
        whole(self, 0, "seed")
        whole(self, 0, "workers", most=MOST_AT_ONCE)
        if self.batch_size % self.accumulation:
            raise ConfigError(
                f"{type(self).__name__}.batch_size={self.batch_size} is not divisible by "
                f"accumulation={self.accumulation}"
            )

    def check_mesh(self, mesh: Any) -> None:
        """Raise ConfigError unless every accumulation round divides over the devices that take different samples."""
        data, fsdp = mesh.shape["data"], mesh.shape["fsdp"]
        round_size = self.batch_size // self.accumulation
        if round_size % (data * fsdp):
            raise ConfigError(
                f"batch_size {self.batch_size} / accumulation {self.accumulation} = {round_size} samples at a time "
                f"are not divisible by the mesh's data x fsdp = {data} x {fsdp} = {data * fsdp}; "
                "change batch_size, accumulation or mesh"
            )


def run_config(cls: type[_Config], table: Mapping[str, Any] | ConfigDict) -> _Config:
    """Return a nested mapping or ConfigDict as a ``cls``, one of RunConfig's kinds.

    Raises ConfigError, one line, for an unknown or missing field or a value that cannot be.
    """
    return from_dict(cls, plain(table))


def to_table(config: RunConfig) -> dict[str, Any]:
    """Return a RunConfig as nested plain values; ``run_config`` reads it back."""
    return dataclasses.asdict(config)


def plain(value: Any) -> Any:
    """Return nested mappings and ConfigDicts as dicts."""
    if isinstance(value, Mapping | ConfigDict):
        return {key: plain(item) for key, item in value.items()}
    return value
