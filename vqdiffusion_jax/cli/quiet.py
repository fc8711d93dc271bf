"""Reports of libraries on stderr: kept to what a user can do something about, each one line."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from typing import Any

from ..errors import one_line, shortened

_LONGEST = 500  # characters of a warning
# Libraries whose reports repeat, at length, what the command's own error says in one line.
_SILENT = ("asyncio", "concurrent", "orbax", "grain", "etils", "tensorstore", "flax", "array_record", "matplotlib")


def quiet_libraries() -> None:
    """Print warnings in one line, no tracebacks of background threads, and nothing of libraries below."""
    warnings.formatwarning = lambda message, *where, **more: f"warning: {shortened(one_line(message), _LONGEST)}\n"
    for name in _SILENT:
        warnings.filterwarnings("ignore", module=rf"{name}\b")
    for handler in logging.getLogger().handlers or [logging.lastResort]:
        if handler is not None:
            handler.addFilter(_says_something)
    threading.excepthook = _ignore  # the thread that waits for it raises the exception again
    sys.unraisablehook = _ignore


def _says_something(record: logging.LogRecord) -> bool:
    """Return whether a report is shown; its traceback is taken away."""
    place = record.pathname.replace("\\", "/")
    if any(f"/{name}/" in place or record.name.partition(".")[0] == name for name in _SILENT):
        return False
    record.exc_info = record.exc_text = record.stack_info = None
    record.msg, record.args = shortened(one_line(_message(record)), _LONGEST), ()
    return True


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # a message that does not fit its arguments
        return str(record.msg)


def _ignore(args: Any) -> None:
    """Take an exception that nobody can catch."""
