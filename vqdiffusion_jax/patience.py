"""Waits for other machines, each of which ends: none for longer than ``patience``, none for more bytes than allowed."""

from __future__ import annotations

import contextvars
import math
import os
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

from .errors import ConfigError, NoAnswer, TooMuch, shown

VARIABLE = "VQDIFFUSION_TIMEOUT"
_SECONDS = 60.0
_LEAST_RATE = 1024  # bytes a second; what brings fewer is as good as silent
_LOOK = 0.5  # seconds between two looks at what has come

T = TypeVar("T")


def patience() -> float:
    """Return the seconds without an answer after which a call is given up.

    The environment variable VQDIFFUSION_TIMEOUT tells them.  Raises ConfigError if it is no number above 0.
    """
    text = os.environ.get(VARIABLE) or str(_SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ConfigError(f"{VARIABLE} is {shown(text)}; it must be a number of seconds above 0")
    return seconds


class Progress:
    """The outcome of a call, told by whoever brings it.

    seconds: without progress after which it is given up.  most: bytes that may come.  measured: bytes that are there,
    looked at now and then where nobody tells them.
    """

    def __init__(self, seconds: float, *, most: int | None = None, measured: Callable[[], int] | None = None):
        self.most = most
        self._seconds, self._measured = seconds, measured
        self._given_up = False
        self._at_end: Callable[[], object] = lambda: None
        self._reached = self._counted = 0 if measured is None else measured()
        self._since = time.monotonic()

    def came(self, count: int) -> None:
        """Tell that so many more bytes have come.  Raises NoAnswer if nobody waits for them, and TooMuch."""
        self.reached(self._reached + count)

    def reached(self, total: int) -> None:
        """Tell how many bytes have come in all.  Raises as ``came`` does."""
        if self._given_up:
            raise NoAnswer("it was given up")
        self._reached = total
        if self.most is not None and total > self.most:
            raise TooMuch(f"more than its {self.most} bytes come")

    def check(self) -> None:
        """Raise NoAnswer if too little has come for too long."""
        if self._measured is not None:
            self._reached = max(self._reached, self._measured())
        now = time.monotonic()
        if self._reached - self._counted >= _LEAST_RATE * min(self._seconds, now - self._since + _LOOK):
            self._counted, self._since = self._reached, now
        elif now - self._since > self._seconds:
            self.give_up()
            brought = f"{self._reached - self._counted} bytes came" if self._reached > self._counted else "no answer"
            raise NoAnswer(f"{brought} in {self._seconds:.3g} seconds; check the network, or wait longer by {VARIABLE}")

    def if_given_up(self, end: Callable[[], object]) -> None:
        """Let ``end`` be called if the call is given up, or at once if it was."""
        self._at_end = end
        if self._given_up:
            end()

    def give_up(self) -> None:
        """Let what still comes end its thread."""
        self._given_up = True
        self._at_end()

    @property
    def look(self) -> float:
        """The seconds from one ``check`` to the next."""
        return min(_LOOK, self._seconds / 4)


def within(call: Callable[[], T], progress: Progress) -> T:
    """Return what ``call`` returns, made in another thread, which is left alone if it is given up.

    Raises NoAnswer, and whatever ``call`` raises.
    """
    values: list[T] = []
    errors: list[BaseException] = []
    ended, context = threading.Event(), contextvars.copy_context()

    def run() -> None:
        try:
            values.append(context.run(call))
        except BaseException as error:
            errors.append(error)
        finally:
            ended.set()

    calls = _thread()
    calls.put(run)
    try:
        while not ended.wait(progress.look):
            progress.check()
    except BaseException:
        progress.give_up()
        calls.put(None)
        raise
    _idle.append(calls)
    if errors:
        raise errors[0]
    return values[0]


def _thread() -> SimpleQueue[Callable[[], None] | None]:
    """Return the queue of a thread that has nothing to do; None ends it.

    A new thread for each of many small objects costs more than the objects do.
    """
    try:
        return _idle.pop()
    except IndexError:
        calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def work() -> None:
        while (call := calls.get()) is not None:
            call()
            del call  # and what it returned, which may be large

    threading.Thread(target=work, name="waiting", daemon=True).start()
    return calls


_idle: list[SimpleQueue[Callable[[], None] | None]] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # threads stay in the parent
