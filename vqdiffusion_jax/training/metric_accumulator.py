"""What steps measured, from the devices to the journal: every loss is looked at, and a record is a mean over steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax

from ..errors import NonFiniteLoss

OF_THE_LAST_STEP = ("learning_rate",)  # what is known exactly at any step; all else is an average over samples


class Measured:
    """Metrics of steps that may not be done yet, and their sums since the last record.

    go_on: says, for NonFiniteLoss, where the run may go on from.
    sums: what ``state`` gave, of the run that goes on here.
    """

    def __init__(self, go_on: Callable[[], str], sums: dict[str, Any] | None = None):
        self._go_on = go_on
        self._waiting: list[
            tuple[int, list[str], dict[str, jax.Array]]
        ] = []  # steps whose loss nobody has looked at yet
        self._count, self._sums = (sums["count"], dict(sums["sums"])) if sums else (0, {})

    def add(self, step: int, names: list[str], metrics: dict[str, jax.Array]) -> None:
        """What ``step`` measured, scalars, on the samples ``names``; the devices may still be at it."""
        self._waiting.append((step, names, metrics))

    def look(self, keep: int = 0) -> None:
        """Wait for all but the last ``keep`` steps.  Raises NonFiniteLoss if one of them went wrong."""
        while len(self._waiting) > keep:
            step, names, metrics = self._waiting.pop(0)
            seen = {name: float(value) for name, value in jax.device_get(metrics).items()}
            if not math.isfinite(seen["loss"]) or not math.isfinite(seen["grad_norm"]):
                part = f" of process {jax.process_index()}" if jax.process_count() > 1 else ""
                raise NonFiniteLoss(
                    f"step {step}: loss {seen['loss']}, gradient norm {seen['grad_norm']}; "
                    f"batch{part}: {', '.join(names) or 'unnamed'}; {self._go_on()}"
                )
            self._count += 1
            for name, value in seen.items():
                self._sums[name] = value if name in OF_THE_LAST_STEP else self._sums.get(name, 0.0) + value

    def record(self) -> dict[str, float]:
        """Means over the steps since the last record, or since the start; begins the next."""
        self.look()
        means = {name: value / (1 if name in OF_THE_LAST_STEP else self._count) for name, value in self._sums.items()}
        self._count, self._sums = 0, {}
        return means

    def state(self) -> dict[str, Any]:
        """The sums as plain JSON, for a run that goes on from here to record the same means."""
        self.look()
        return {"count": self._count, "sums": dict(self._sums)}
