"""TensorBoard's event files, by tensorboardX."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping

import numpy as np

from .sink import Run


class TensorBoard:
    """Event files in ``tensorboard/`` of the run's folder, one each time it goes on; every record is flushed.

    They are written by tensorboardX's synchronous layer: its ``SummaryWriter`` hands events to a thread, which ends
    unseen when a disk is full, and the run would wait for it.
    """

    replaces = True  # by the mark of a session's start, behind which TensorBoard drops what an earlier file has

    def __init__(self, run: Run):
        self._events = importlib.import_module("tensorboardX.proto.event_pb2")
        self._summary = importlib.import_module("tensorboardX.summary")
        folder = run.folder / "tensorboard"
        folder.mkdir(exist_ok=True)
        # A name has whole seconds in it, and two sessions must not share one.
        writer = importlib.import_module("tensorboardX.event_file_writer").EventsWriter
        self._file = writer(str(folder.absolute() / "events"), f".{time.time_ns()}")
        start = self._events.SessionLog(status=self._events.SessionLog.START)
        self._write(self._events.Event(wall_time=time.time(), step=run.first_step + 1, session_log=start))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        summaries = [self._summary.scalar(name, value) for name, value in values.items()]
        self._write(*(self._events.Event(wall_time=time.time(), step=step, summary=one) for one in summaries))

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        summary = self._summary.image(name, pixels, dataformats="HWC")
        self._write(self._events.Event(wall_time=time.time(), step=step, summary=summary))

    def close(self, failed: bool) -> None:
        self._file.close()

    def _write(self, *events: object) -> None:
        for event in events:
            self._file.write_event(event)
        self._file.flush()
