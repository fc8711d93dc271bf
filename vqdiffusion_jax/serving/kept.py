"""Pictures that are kept for a while under names that nobody guesses."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable


class Kept:
    """PNG files in memory; the oldest go when there are more than ``most``, or more bytes than ``most_bytes``.

    seconds: how long each is kept.
    """

    def __init__(self, *, most: int, most_bytes: int, seconds: float, clock: Callable[[], float] = time.monotonic):
        self._most, self._most_bytes, self._seconds, self._clock = most, most_bytes, seconds, clock
        self._files: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def put(self, png: bytes) -> str:
        """Keep a file and return its name, of 128 random bits."""
        name = f"{secrets.token_urlsafe(16)}.png"
        with self._lock:
            self._files[name] = self._clock() + self._seconds, png
            self._bytes += len(png)
            self._forget()
        return name

    def get(self, name: str) -> bytes | None:
        """Return a file, or None for one that is not kept, or not any more."""
        with self._lock:
            self._forget()
            found = self._files.get(name)
        return None if found is None else found[1]

    def _forget(self) -> None:
        now = self._clock()
        while self._files:
            until, png = next(iter(self._files.values()))
            if until > now and len(self._files) <= self._most and self._bytes <= self._most_bytes:
                return
            self._files.popitem(last=False)
            self._bytes -= len(png)
