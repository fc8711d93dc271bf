"""Pushes of a stored folder in the background, while work goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress

from ..errors import StorageError
from .stored_folder import StoredFolder


class Putting:
    """The pushes of a folder in the background, one at a time; of a folder on this machine nothing is to be done.

    ready: called before each in its thread; waits until the files to put are whole.
    """

    def __init__(self, folder: object, ready: Callable[[], None]):
        self._stored, self._ready = folder if isinstance(folder, StoredFolder) else None, ready
        self._pool = ThreadPoolExecutor(1, "putting")  # which has no thread before something is submitted
        self._last: Future[None] | None = None

    def begin(self) -> None:
        """Begin a push; the one before must have ended."""
        if self._stored is not None:
            self._last = self._pool.submit(self._put, self._stored)

    def wait(self) -> None:
        """Wait for the last push.  Raises what kept it from ending."""
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def close(self) -> None:
        """Wait for the last push and end the thread."""
        try:
            self.wait()
        finally:
            self._pool.shutdown()

    def _put(self, stored: StoredFolder) -> None:
        self._ready()
        stored.push()


@contextmanager
def pushed_every(seconds: float | None, stored: StoredFolder) -> Iterator[None]:
    """Push now and then in a thread; what fails there is tried again, and told by the last push."""
    if seconds is None:
        yield
        return
    ended = threading.Event()

    def push() -> None:
        while not ended.wait(seconds):
            with suppress(StorageError, OSError):
                stored.push()

    thread = threading.Thread(target=push, name="pushing", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
