"""The protocol of a sink, which is told about a run, and the sinks by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...errors import ConfigError, did_you_mean, shown
from ...extensions import load_class

SINKS = {
    "tensorboard": "tensorboard:TensorBoard",
    "wandb": "wandb:WeightsAndBiases",
    "mlflow": "mlflow:MLflow",
    "trackio": "trackio:Trackio",
}
_PACKAGES = {"tensorboard": "tensorboardX"}  # of other sinks it has the sink's name


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training run, as a sink is told of it.

    folder: on this machine, also for a run in a bucket, where it is put with each checkpoint.
    id: 16 hexadecimal digits, the same whenever the run goes on.  first_step: steps that were taken before it goes on.
    config: the run's configuration as nested plain values.
    """

    folder: Path
    name: str
    id: str
    first_step: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)


class MetricSink(Protocol):
    """A place for numbers and pictures, made with a ``Run``; what its methods raise is told once and ends it alone.

    Steps never decrease, but several calls may be of one step.  After a run was killed, nothing comes twice, unless the
    class has ``replaces = True``: then all after ``Run.first_step`` comes again, and replaces what came before.
    """

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Take the numbers measured after ``step`` steps."""
        ...

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        """Take a picture (height, width, 3) uint8."""
        ...

    def close(self, failed: bool) -> None:
        """Take what is under way to its end; ``failed``: the run ends by an error."""
        ...


def sink_class(name: str) -> type:
    """Return the class of a sink.  Raises ConfigError, one line, if it cannot be had or its package is missing."""
    package = _PACKAGES.get(name, name)
    if name in SINKS and importlib.util.find_spec(package) is None:
        raise ConfigError(
            f"watch.report_to names {name}, which needs the package {package}; install it with "
            f'pip install -e ".[{name}]", or leave the name out: metrics.jsonl has the numbers in any case'
        )
    return load_class(
        name,
        SINKS,
        __package__ or "",
        where="watch.report_to",
        kind="metric sink",
        methods=("scalars", "image", "close"),
        see="MetricSink in vqdiffusion_jax/training/sinks/sink.py",
    )


def check_sinks(names: Iterable[str]) -> None:
    """Raise ConfigError unless every name is one of ``SINKS`` or looks like ``module:Class``."""
    for name in names:
        if name not in SINKS and ":" not in name:
            raise ConfigError(
                f"WatchConfig.report_to has {shown(name)}; allowed: {', '.join(SINKS)}, or module:Class of your own"
                f"{did_you_mean(name, SINKS)}"
            )
