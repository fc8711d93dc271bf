"""What the loop trains: a denoiser, a VQGAN, or something of one's own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

from .config import RunConfig

Batch = dict[str, jax.Array]


class Task(Protocol):
    """Everything that one kind of training has of its own; all of it on ``mesh``, which the task was made for.

    config: how long, how often, on what.  flops_per_sample: of one sample's
    forward and backward pass, 0 if unknown.  score: which of ``validate``'s
    numbers chooses the best checkpoint, lower being better.  report: where the
    first state came from, for people.
    """

    config: RunConfig
    mesh: jax.sharding.Mesh
    flops_per_sample: float
    score: str
    report: tuple[str, ...]

    def abstract_state(self) -> Any:
        """The state, a pytree with a () int32 leaf ``step``, as ShapeDtypeStructs with shardings."""

    def first_state(self) -> Any:
        """The state before the first step, initialised on its devices."""

    def check_batch(self, batch: dict[str, np.ndarray]) -> None:
        """Raise ConfigError, one line, unless a host batch is what the task trains on."""

    def step(self, state: Any, batch: Batch) -> tuple[Any, dict[str, jax.Array]]:
        """One step; ``state`` is given away.  The metrics, scalars, have ``loss`` and ``grad_norm`` among them.

        The journal has their means over the steps since its last record, but the ``learning_rate`` of the last step.
        """

    def record(self, state: Any) -> dict[str, Any]:
        """What else belongs into the journal: numbers, or lists of them."""

    def validate(self, state: Any, batches: Iterable[Batch]) -> dict[str, float]:
        """Numbers measured on held-out batches; the state is only read."""

    def pictures(self, state: Any) -> np.ndarray | str:
        """One picture (height, width, 3) uint8 of what has been learned, or a sentence that says why there is none."""

    def export(self, state: Any, folder: Path) -> list[str]:
        """Write what people use afterwards below ``folder``; returns lines that say what was written."""
