"""The log of a server: a line a record, which no visitor can forge or flood."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from ..errors import brief
from .rates import Allowance

_LONGEST = 400  # characters of a line
_LINES, _SECONDS = 20, 60.0  # of a library's warnings; those beyond are left out
# Libraries that report what visitors send.
_LOGGERS = ("nicegui", "engineio.server", "socketio.server", "uvicorn.error", "asyncio", "root")


@contextlib.contextmanager
def one_line_logs(*, debug: bool = False) -> Iterator[None]:
    """Make every record of the log one printable line, without a traceback, until the block ends.

    Control characters become escapes, so that a path, a header or a message that a visitor sends cannot pretend to be
    a line of its own.  Warnings of libraries that read requests are limited in number.
    debug: keep tracebacks, and all records.
    """
    before = logging.getLogRecordFactory()

    def made(*args, **kwargs) -> logging.LogRecord:
        return _as_line(before(*args, **kwargs), debug)

    limit = _AtMost()
    loggers = [logging.getLogger(None if name == "root" else name) for name in _LOGGERS]
    logging.setLogRecordFactory(made)
    for logger in loggers if not debug else ():
        logger.addFilter(limit)
    try:
        yield
    finally:
        logging.setLogRecordFactory(before)
        for logger in loggers:
            logger.removeFilter(limit)


def _as_line(record: logging.LogRecord, debug: bool) -> logging.LogRecord:
    try:
        message = record.getMessage()
    except Exception:  # a message that does not fit its arguments
        message = str(record.msg)
    error = record.exc_info[1] if record.exc_info else None
    if not debug:
        if error is not None and str(error) not in message:
            message = f"{message} ({type(error).__name__}: {error})"
        record.exc_info = record.exc_text = record.stack_info = None
    record.msg, record.args = brief(message, _LONGEST), ()
    return record


class _AtMost(logging.Filter):
    """Lets through so many records of each logger in a time."""

    def __init__(self):
        super().__init__()
        self._allowance = Allowance(_LINES, _SECONDS)

    def filter(self, record: logging.LogRecord) -> bool:
        return self._allowance.take(record.name) == 0
