"""Lists of objects, whose names are counted page by page as they come, so that a list without end fills no memory."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ..errors import TooMuch

MOST_NAMES = 2_000_000  # of one list; each takes about a kilobyte here
# The coroutines of s3fs and gcsfs by which each page of a list is asked for, and where its objects are in the answer.
_PAGES = (("_call_s3", "Contents"), ("_call", "items"))

_came: ContextVar[list[int] | None] = ContextVar("names of a list that came", default=None)


@contextmanager
def counted(files: Any) -> Iterator[None]:
    """Let what lists objects of a file system of fsspec within this raise TooMuch after ``MOST_NAMES`` names.

    Of file systems that are no bucket's, ``check_names`` tells it at the end.
    """
    for method, field in _PAGES:
        ask = getattr(files, method, None)
        if ask is not None and not hasattr(ask, "counts"):
            setattr(files, method, _counting(ask, field))  # file systems are shared, and kept as long as the process
    token = _came.set([0])
    try:
        yield
    finally:
        _came.reset(token)


def check_names(count: int) -> None:
    """Raise TooMuch for a list of more than ``MOST_NAMES`` names."""
    if count > MOST_NAMES:
        raise TooMuch(f"more than {MOST_NAMES:,} names come")


def _counting(ask: Any, field: str) -> Any:
    @functools.wraps(ask)
    async def counting(*arguments: Any, **options: Any) -> Any:
        answer = await ask(*arguments, **options)
        came = _came.get()
        if came is not None and isinstance(answer, dict) and isinstance(page := answer.get(field), list):
            came[0] += len(page)
            check_names(came[0])
        return answer

    counting.counts = True  # pyright: ignore[reportAttributeAccessIssue]  # so that it is put there once
    return counting
