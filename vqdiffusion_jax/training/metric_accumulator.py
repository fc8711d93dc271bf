"""The metrics of steps between two records: each loss is checked, and a record is a mean over steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax

from ..errors import NonFiniteLoss

StepMetrics = dict[str, jax.Array]  # what a train step measures, scalars by name
OF_THE_LAST_STEP = ("learning_rate",)  # known exactly at any step; all else is averaged


class MetricAccumulator:
    """Sums of the steps' metrics since the last record; steps that devices are still computing wait.

    resume_hint: gives, for NonFiniteLoss, the sentence that says from what the run may go on.
    saved: ``state`` of the run that goes on here.
    """

    def __init__(self, resume_hint: Callable[[], str], saved: Mapping[str, Any] | None = None):
        self._resume_hint = resume_hint
        self._pending: list[tuple[int, list[str], Mapping[str, jax.Array]]] = []  # steps whose loss is unchecked
        self._count: int = saved["count"] if saved else 0
        self._sums: dict[str, float] = dict(saved["sums"]) if saved else {}

    def add(self, step: int, names: list[str], metrics: Mapping[str, jax.Array]) -> None:
        """Add the metrics of ``step``, scalars that may still be computed, on the samples ``names``."""
        self._pending.append((step, names, metrics))

    def check(self, keep: int = 0) -> None:
        """Wait for all but the last ``keep`` steps.

        Raises NonFiniteLoss if the loss or the gradient of one is not finite.
        """
        while len(self._pending) > keep:
            step, names, metrics = self._pending.pop(0)
            values = {name: float(value) for name, value in jax.device_get(metrics).items()}
            if not math.isfinite(values["loss"]) or not math.isfinite(values["grad_norm"]):
                part = f" of process {jax.process_index()}" if jax.process_count() > 1 else ""
                raise NonFiniteLoss(
                    f"step {step}: loss {values['loss']}, gradient norm {values['grad_norm']}; "
                    f"batch{part}: {', '.join(names) or 'unnamed'}; {self._resume_hint()}"
                )
            self._count += 1
            for name, value in values.items():
                self._sums[name] = value if name in OF_THE_LAST_STEP else self._sums.get(name, 0.0) + value

    def flush(self) -> dict[str, float]:
        """Return the means over the steps since the last call, or since the start."""
        self.check()
        means = {name: value / (1 if name in OF_THE_LAST_STEP else self._count) for name, value in self._sums.items()}
        self._count, self._sums = 0, {}
        return means

    def state(self) -> dict[str, Any]:
        """Return the sums as plain JSON, for a run that goes on from here to record the same means."""
        self.check()
        return {"count": self._count, "sums": dict(self._sums)}
