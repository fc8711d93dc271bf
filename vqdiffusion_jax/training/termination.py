"""Ending a run in order: SIGTERM or Ctrl-C asks the loop to save a checkpoint and stop."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import jax

from ..multihost import preempted


@contextmanager
def termination() -> Iterator[Callable[[int], bool]]:
    """Give a function of the steps done that says whether to stop, the same on all processes: after SIGTERM or Ctrl-C.

    A second Ctrl-C does what it did before, by default raise KeyboardInterrupt.  A signal that is ignored from the
    start stays ignored: a shell protects a run in the background (``nohup ... &``) so from the Ctrl-C of another.
    """
    asked = threading.Event()

    def asked_here(step: int) -> bool:
        return asked.is_set()

    several = jax.process_count() > 1
    to_stop = preempted if several else asked_here
    handlers: dict[int, Callable[[], None]]
    if several:
        handlers = {signal.SIGINT: lambda: os.kill(os.getpid(), signal.SIGTERM)}  # which JAX tells the other processes
    else:
        handlers = {signal.SIGINT: asked.set, signal.SIGTERM: asked.set}
    if threading.current_thread() is not threading.main_thread():
        handlers = {}  # only the main thread may set what a signal does
    before = {number: signal.getsignal(number) for number in handlers}
    # None is a handler that was not set from Python, and could not be put back.
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}

    def caught(number: int, frame: Any) -> None:
        handlers[number]()
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, before[signal.SIGINT])
            with suppress(OSError):  # print may be what was interrupted, and must not be called again
                os.write(2, b"stopping soon, with a checkpoint; Ctrl-C again ends at once\n")

    for number in before:
        signal.signal(number, caught)
    try:
        yield to_stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
