"""Allowances: how often a visitor may do something within a time."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable

_MOST_KEYS = 10_000  # visitors that are remembered; the one that came first is forgotten


class Allowance:
    """``most`` uses in any ``seconds``, for each key; the clock is in seconds."""

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic):
        self._most, self._seconds, self._clock = most, seconds, clock
        self._uses: OrderedDict[Hashable, deque[float]] = OrderedDict()

    def take(self, key: Hashable) -> float:
        """Use it once and return 0, or return the seconds until it can be used again."""
        if wait := self.wait(key):
            return wait
        self._uses.setdefault(key, deque()).append(self._clock())
        self._uses.move_to_end(key)
        while len(self._uses) > _MOST_KEYS:
            self._uses.popitem(last=False)
        return 0.0

    def wait(self, key: Hashable) -> float:
        """Return the seconds until it can be used again, 0 for at once."""
        uses, now = self._uses.get(key), self._clock()
        while uses and uses[0] <= now - self._seconds:
            uses.popleft()
        return 0.0 if not uses or len(uses) < self._most else uses[0] + self._seconds - now
