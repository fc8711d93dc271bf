"""Downloads of released files: parts are joined while they come, and an interrupted download goes on where it ended."""

from __future__ import annotations

import errno
import hashlib
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, NoAnswer, one_line
from ..patience import Progress, patience, within
from .files import BASE, ReleasedFile

_CHUNK = 1 << 20
_ATTEMPTS = 4  # that do not get on
_LEAST = 2**16  # bytes of an attempt that gets on; fewer at each would never end
_PAUSE = 1.0  # seconds before an attempt, times its number
_AGENT = {"User-Agent": "vqdiffusion_jax"}


def fetch(
    file: ReleasedFile,
    folder: str | Path,
    *,
    base: str | None = None,
    watch: Callable[[int, int], None] = lambda done, total: None,
    timeout: float | None = None,
) -> Path:
    """Download a file, or its parts joined, into ``folder`` and return its path.

    The parts go into NAME.partial one after the other; a later call goes on at its end.  The size is checked against
    the sum of the parts and the least size of such a file, and the hash where it is known.

    Args:
        file: a released file.
        folder: made if it does not exist.  A file of that name in it is checked and kept.
        base: the http(s) address below which the parts lie; by default the authors'.
        watch: called with the bytes that are there and the bytes in all.
        timeout: seconds to wait for an answer, or for more of it; by default ``patience``.

    Raises:
        CheckpointError: one line that says what is wrong and what to do.
    """
    timeout = patience() if timeout is None else timeout
    folder = Path(folder)
    whole, partial = folder / file.name, folder / f"{file.name}.partial"
    if whole.exists():
        _check(file, whole)
        return whole
    base = (base or file.base or BASE).rstrip("/")
    if not base.startswith(("http://", "https://")):
        raise CheckpointError(f"base is {base}; give an address that begins with http:// or https://")
    addresses = [f"{base}/{piece}" for piece in file.pieces]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sizes = [_size_of(address, timeout) for address in addresses]
        if len({*sizes[:-1]}) > 1:  # pieces of one file that was split
            warnings.warn(f"the parts of {file.name} at {base} differ in size; one may be incomplete", stacklevel=2)
        with partial.open("ab") as out:
            if out.tell() > sum(sizes):  # of another release
                out.truncate(0)
                out.seek(0)
            start = 0
            for address, size in zip(addresses, sizes, strict=True):
                _append(out, address, start, size, timeout, lambda done: watch(done, sum(sizes)))
                start += size
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CheckpointError(
                f"the disk of {folder} is full; make room and repeat the command, which goes on at the end of {partial}"
            ) from error
        raise CheckpointError(f"{partial} cannot be written: {one_line(error)}") from error
    try:
        _check(file, partial)
    except CheckpointError:
        partial.replace(folder / f"{file.name}.broken")
        raise
    partial.replace(whole)
    return whole


def _size_of(address: str, timeout: float) -> int:
    """Return the bytes of the file at an address."""
    request = urllib.request.Request(address, method="HEAD", headers=_AGENT)

    def ask() -> int:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            size = answer.headers.get("Content-Length", "")
        if not size.isdecimal():
            raise CheckpointError(f"{address} states no size; give the base address of a server that does")
        return int(size)

    return _again(lambda: within(ask, Progress(timeout)), address)


def _append(out: Any, address: str, start: int, size: int, timeout: float, watch: Callable[[int], None]) -> None:
    """Bring the bytes ``start`` to ``start + size`` of the open file ``out``, whose end may lie among them."""
    if out.tell() >= start + size:
        return

    def read() -> None:
        done = out.tell() - start
        headers = _AGENT | ({"Range": f"bytes={done}-"} if done else {})
        request = urllib.request.Request(address, headers=headers)
        with within(lambda: urllib.request.urlopen(request, timeout=timeout), Progress(timeout)) as answer:
            progress = Progress(timeout)
            if done and answer.status != 206:  # a server that sends files from their beginning alone
                out.truncate(start)
                out.seek(start)
            while (missing := start + size - out.tell()) > 0 and (chunk := answer.read1(min(_CHUNK, missing))):
                out.write(chunk)
                watch(out.tell())
                progress.came(len(chunk))
                progress.check()
            out.flush()
        if out.tell() < start + size:
            raise HTTPException(f"it ended {start + size - out.tell()} bytes early")

    _again(read, address, out.tell)


def _again(attempt: Callable[[], Any], address: str, reached: Callable[[], int] = lambda: 0) -> Any:
    """Return what ``attempt`` does, tried again after faults of the network while it gets on."""
    failed, before = 0, reached()
    while True:
        try:
            return attempt()
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise CheckpointError(
                    f"{address} answers {error.code} ({error.reason}); name a mirror with --base, or base="
                ) from error
            reason: Exception = error
        except (urllib.error.URLError, HTTPException, ConnectionError, TimeoutError) as error:
            reason = error
        got_on = (now := reached()) >= before + _LEAST and not isinstance(reason, NoAnswer)
        failed, before = (1, now) if got_on else (failed + 1, before)
        if failed == _ATTEMPTS:
            why = one_line(getattr(reason, "reason", reason))
            raise CheckpointError(
                f"{address} cannot be fetched ({why}); check the network, or name a mirror with --base; repeating the "
                "command goes on where it ended"
            ) from reason
        time.sleep(_PAUSE * failed)


def _check(file: ReleasedFile, path: Path) -> None:
    """Raise CheckpointError if a file is too small, or is another than the one whose hash is known."""
    size, least = path.stat().st_size, int(file.gibibytes * 2**30)
    if size < least or not size:
        raise CheckpointError(
            f"{path} has {size} bytes, and {file.name} has at least {least or 1}; delete it and fetch it again"
        )
    if file.sha256 is not None:
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        if digest != file.sha256:
            raise CheckpointError(
                f"{path} has the SHA-256 {digest}, and {file.name} has {file.sha256}; delete it and fetch it again"
            )
