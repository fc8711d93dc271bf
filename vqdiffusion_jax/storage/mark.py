"""The mark of the run that owns a folder in a bucket.

A bucket has no locks.  The run that marked a folder last owns it, and any other ends when it next looks.
"""

from __future__ import annotations

import threading
import time
import uuid

from ..errors import StorageError, brief
from .transfer import Objects

MARK = "run.lock"
_SECONDS = 5.0  # between two looks while many objects are put


class Mark:
    """The mark of this run, put when the object is made.

    holder: who runs, for people.
    former: who marked the folder before and has not ended, None if nobody has.
    """

    def __init__(self, objects: Objects, holder: str):
        self._objects = objects
        self._before = objects.read(MARK)
        self._mine = f"{holder}, run {uuid.uuid4().hex}\n".encode()
        self.former = None if self._before is None else _holder(self._before)
        self._lock, self._lost = threading.Lock(), ""
        objects.write(MARK, self._mine)
        self._looked = time.monotonic()

    def check(self) -> None:
        """Raise StorageError unless the folder still has the mark of this run."""
        with self._lock:
            self._look()

    def check_at_times(self) -> None:
        """Raise StorageError as ``check`` does, but look only if the last look is some seconds ago."""
        with self._lock:
            if self._lost or time.monotonic() - self._looked >= _SECONDS:
                self._look()

    def release(self, *, untouched: bool) -> None:
        """Take the mark off, if it is this run's; untouched: put the former one back, as this run changed nothing."""
        if self._objects.read(MARK) != self._mine:
            return
        if untouched and self._before is not None:
            self._objects.write(MARK, self._before)
        else:
            self._objects.delete([MARK])

    def _look(self) -> None:
        if not self._lost and (found := self._objects.read(MARK)) != self._mine:
            why = "its mark was deleted" if found is None else f"another has begun there ({_holder(found)})"
            self._lost = f"{self._objects.address} no longer belongs to this run: {why}; this one ends"
        self._looked = time.monotonic()
        if self._lost:
            raise StorageError(self._lost)


def _holder(mark: bytes) -> str:
    return brief(mark.decode("utf-8", "replace").partition(", run ")[0])
