"""Turns at one model: of several queues that draw with it, one draws at a time, and what came first goes first."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """The turn to draw, which threads wait for and take."""

    def __init__(self):
        self._changed = threading.Condition()
        self._waiting: list[tuple[float, int]] = []
        self._numbers = itertools.count()
        self._taken = False

    @contextmanager
    def taken(self, since: float) -> Iterator[None]:
        """Hold the turn until the block ends; of those who wait for it, the one with the smallest ``since`` is next.

        since: when what is to be drawn came, by time.monotonic().
        """
        mine = since, next(self._numbers)
        with self._changed:
            self._waiting.append(mine)
            self._changed.wait_for(lambda: not self._taken and min(self._waiting) == mine)
            self._waiting.remove(mine)
            self._taken = True
        try:
            yield
        finally:
            with self._changed:
                self._taken = False
                self._changed.notify_all()
