"""Pushes of a folder in the background, while work goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from ..errors import StorageError


class Pushes:
    """Calls of ``push`` in the background: when they are begun, and now and then.

    push: may be called by several threads, and lets one in at a time.
    every: seconds between two calls that nobody begins; None makes none.  What fails in these is tried again by the
    next, and told by the call that ends the work.
    """

    def __init__(self, push: Callable[[], None], every: float | None = None):
        self._push, self._ended = push, threading.Event()
        self._pool = ThreadPoolExecutor(2, "pushing")  # which has no thread before something is submitted
        self._last: Future[None] | None = None
        if every is not None:
            self._pool.submit(self._now_and_then, every)

    def begin(self, ready: Callable[[], None] = lambda: None) -> None:
        """Begin a push; the one begun before must have ended.

        ready: called first, in the same thread; waits until the files to push are whole.
        """
        self._last = self._pool.submit(lambda: (ready(), self._push())[1])

    def wait(self) -> None:
        """Wait for the push begun last.  Raises what kept it from ending."""
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def close(self) -> None:
        """End the threads, after the pushes in hand."""
        self._ended.set()
        self._pool.shutdown()

    def _now_and_then(self, every: float) -> None:
        while not self._ended.wait(every):
            with suppress(StorageError, OSError):
                self._push()
