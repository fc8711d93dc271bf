"""Calls to a provider's library, made again after failures that pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..errors import NoAnswer, TooMuch

_WAITS = (0.5, 2.0)  # seconds before the second and the third try
_PATIENCE = 20.0  # a library that took longer has tried again itself
_PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))  # status codes of HTTP
_TRANSPORT = ("aiohttp", "httpcore", "httpx", "requests", "urllib3")

T = TypeVar("T")


def tried(call: Callable[[], T]) -> T:
    """Return what ``call`` returns, in at most three tries.

    Only failures that pass are followed by another try: a connection that broke, an answer that did not come in time, a
    server that was busy.  s3fs and gcsfs make five or six tries of most requests themselves; what they raise after
    ``_PATIENCE`` seconds is final.
    """
    began = time.monotonic()
    for wait in _WAITS:
        try:
            return call()
        except Exception as error:
            if not passes(error) or time.monotonic() - began > _PATIENCE:
                raise
        time.sleep(wait)
    return call()


def passes(error: BaseException) -> bool:
    """Return whether the same call may succeed a moment later."""
    if isinstance(error, FileNotFoundError | FileExistsError | PermissionError | NoAnswer | TooMuch):
        return False
    status = _status(error) or _status(error.__cause__)
    if status is not None:
        return status in _PASSING
    transport = type(error).__module__.partition(".")[0] in _TRANSPORT
    return transport and not isinstance(error, ValueError) or isinstance(error, ConnectionError | TimeoutError)


def _status(error: BaseException | None) -> int | None:
    """Return the status code that a server answered with, None if there was no answer."""
    response: Any = getattr(error, "response", None)
    if isinstance(response, Mapping):  # of botocore
        found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        found = next(
            (value for name in ("status", "status_code", "code") if (value := getattr(error, name, None))), None
        )
        found = found or getattr(response, "status_code", None)
    return int(str(found)) if str(found).isdigit() else None
