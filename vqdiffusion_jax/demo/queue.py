"""The queue of runs: one is drawn at a time, in the order in which they came."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from ..web.turns import Turns
from .drawing import Frame
from .wording import told

WAITING, DRAWING, DONE, STOPPED, FAILED = "waiting", "drawing", "done", "stopped", "failed"


class Run:
    """A visitor's run of one or more jobs; the queue's thread writes it, the page reads it.

    jobs: their number; work: draws them, shows the run their frames, and returns whether it came to the end.
    visitor: whose it is; since: when it was made, by time.monotonic().
    frames: so far, of each job; state: one of those above; message: the reason of a failure.
    """

    def __init__(self, jobs: int, work: Callable[[Run], bool], visitor: str = ""):
        self.frames: list[list[Frame]] = [[] for _ in range(jobs)]
        self.state = WAITING
        self.message = ""
        self.visitor = visitor
        self.since = time.monotonic()
        self._work = work
        self._stop = threading.Event()

    @property
    def ended(self) -> bool:
        return self.state in (DONE, STOPPED, FAILED)

    @property
    def stopping(self) -> bool:
        """True once it was told to stop."""
        return self._stop.is_set()

    @property
    def progress(self) -> float:
        """The share that is done, in [0, 1]."""
        return sum(frames[-1].calls / frames[-1].of for frames in self.frames if frames) / len(self.frames)

    def stop(self) -> None:
        """End after the network calls under way, or at once if the run waits."""
        self._stop.set()
        if self.state == WAITING:
            self.state = STOPPED

    def show(self, job: int, frame: Frame) -> bool:
        """Take the next frame of a job, by its number; returns whether to stop, as a pipeline's callback does."""
        self.frames[job].append(frame)
        return self._stop.is_set()

    def __call__(self) -> None:
        """Draw the jobs, unless the run was stopped before; no error leaves this."""
        if self._stop.is_set():
            return
        self.state = DRAWING
        try:
            self.state = DONE if self._work(self) else STOPPED
        except Exception as error:  # of any kind: the runs behind it go on
            if not isinstance(error, ValueError):
                logging.exception("a run of the page failed")
            self.message = told(error)
            self.state = FAILED


class Queue:
    """Runs that wait for the one thread that draws; at most ``most`` wait, and ``each`` of a visitor are not ended.

    turns: shared with other queues that draw with the same model; ahead: from a time, by time.monotonic(), to the
    number of what came before it and waits in these.
    """

    def __init__(
        self,
        most: int,
        each: int | None = None,
        *,
        turns: Turns | None = None,
        ahead: Callable[[float], int] = lambda since: 0,
    ):
        self._most, self._each, self._turns, self._ahead = most, each, turns or Turns(), ahead
        self._runs: list[Run] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._serve, name="queue", daemon=True).start()

    def join(self, run: Run) -> None:
        """Put a run at the end.  Raises ValueError if the queue is full, or has enough runs of the visitor."""
        with self._changed:
            self._runs = [one for one in self._runs if not one.ended]  # one stopped while it waits gives up its place
            if len(self._runs) > self._most:  # one of them is being drawn
                raise ValueError(f"the queue is full, with {self._most} waiting; try again when some have been drawn")
            if self._each is not None and sum(one.visitor == run.visitor for one in self._runs) >= self._each:
                raise ValueError(f"{self._each} of your runs are not done; try again when one has been drawn")
            self._runs.append(run)
            self._changed.notify()

    def before(self, run: Run) -> int:
        """Return the number of runs before this one that have not ended, those of other queues included."""
        with self._changed:
            if run not in self._runs:
                return 0
            own = sum(not one.ended for one in self._runs[: self._runs.index(run)])
        return own + self._ahead(run.since)

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._runs)
                run = self._runs[0]
            with self._turns.taken(run.since):
                run()
            with self._changed:
                self._runs = [one for one in self._runs if one is not run]
