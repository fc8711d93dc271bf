"""A trace of a few steps of a run, for TensorBoard's profiler, XProf or Perfetto (``jax.profiler``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax

Item = TypeVar("Item")


class Profiler:
    """Writes a trace of steps ``first`` to ``first + count - 1``, numbered from 0, to ``folder``.

    A step is a training step, or a batch of pictures.  The traced steps end with the device idle, so that all of their
    work is in the trace; other steps cost nothing.
    """

    def __init__(self, folder: Path, *, first: int = 1, count: int = 3):
        self.folder, self.first, self.last = folder, first, first + count - 1
        self.running = False
        self._step: Any = None

    def begin(self, step: int) -> None:
        """Mark the begin of a step, and start the trace if it is the first to be traced."""
        if step == self.first:
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0  # every call of Python would fill the trace; annotations stay
            jax.profiler.start_trace(self.folder, profiler_options=options)
            self.running = True
        if self.running:
            self._step = jax.profiler.StepTraceAnnotation("step", step_num=step)
            self._step.__enter__()

    def end(self, step: int, result: Any) -> None:
        """Mark the end of a step that made the arrays ``result``; write the trace if it is the last to be traced."""
        if not self.running:
            return
        if step >= self.last:
            jax.block_until_ready(result)
        self._leave_step()
        if step >= self.last:
            self.close()

    def close(self) -> None:
        """Write the trace of the steps so far, if one has begun; for runs that end early."""
        self._leave_step()
        if self.running:
            self.running = False
            jax.profiler.stop_trace()

    def steps(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield ``items``, each made as one step."""
        iterator = iter(items)
        try:
            for number in range(self.last + 1):
                self.begin(number)
                try:
                    item = next(iterator)
                except StopIteration:
                    return
                self.end(number, item)
                yield item
        finally:
            self.close()
        yield from iterator

    def _leave_step(self) -> None:
        step, self._step = self._step, None
        if step is not None:
            step.__exit__(None, None, None)
