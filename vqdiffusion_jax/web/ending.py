"""The end of a server: within seconds of Ctrl-C or SIGTERM, whatever goes on."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

from ..exit_status import INTERRUPTED

GRACE = 2  # seconds for answers on their way when the server ends
PATIENCE = 4.0  # seconds until it ends whatever goes on


def end_in_time(is_ending: Callable[[], bool], begin: Callable[[], None] = lambda: None) -> None:
    """Call ``begin`` once ``is_ending`` is true, and end the process some seconds later, from a thread of its own."""

    def watch() -> None:
        while not is_ending():
            time.sleep(0.1)
        begin()
        time.sleep(PATIENCE)
        end()

    threading.Thread(target=watch, name="end", daemon=True).start()


def end() -> None:
    """End the process at once, with the status of one that was interrupted."""
    # At a usual end Python would wait for the network call under way and unload every program; nothing is to be saved.
    sys.stdout.flush()
    print("interrupted", file=sys.stderr, flush=True)
    os._exit(INTERRUPTED)
