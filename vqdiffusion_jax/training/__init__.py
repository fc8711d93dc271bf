"""Training: one loop, and a task for each kind of network.

The names below are public; each is imported when it is first used.
``denoiser`` and ``vqgan`` hold the two tasks; their ``step.train_step`` is one optimisation step as a pure function.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .batch import Batch, HostBatch
    from .config import RunConfig, run_config
    from .config_dict import train_config_dict, vqgan_config_dict
    from .denoiser.config import TrainConfig, train_config
    from .denoiser.init_from import Pretrained, load_pretrained
    from .denoiser.task import DenoiserTask
    from .loop import Outcome, train
    from .task import BatchIterator, Loader, Task
    from .vqgan.config import VQGANTrainConfig
    from .vqgan.task import VQGANTask

__all__ = [
    "Batch",
    "BatchIterator",
    "DenoiserTask",
    "HostBatch",
    "Loader",
    "Outcome",
    "Pretrained",
    "RunConfig",
    "Task",
    "TrainConfig",
    "VQGANTask",
    "VQGANTrainConfig",
    "load_pretrained",
    "run_config",
    "train",
    "train_config",
    "train_config_dict",
    "vqgan_config_dict",
]

_PLACES = {
    "batch": ("Batch", "HostBatch"),
    "config": ("RunConfig", "run_config"),
    "config_dict": ("train_config_dict", "vqgan_config_dict"),
    "denoiser.config": ("TrainConfig", "train_config"),
    "denoiser.init_from": ("Pretrained", "load_pretrained"),
    "denoiser.task": ("DenoiserTask",),
    "loop": ("Outcome", "train"),
    "task": ("BatchIterator", "Loader", "Task"),
    "vqgan.config": ("VQGANTrainConfig",),
    "vqgan.task": ("VQGANTask",),
}


def __getattr__(name: str) -> Any:
    for module, names in _PLACES.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
