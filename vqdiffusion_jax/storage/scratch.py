"""The folder on this machine that copies of a process lie in, which goes with the process."""

from __future__ import annotations

import atexit
import contextlib
import os
import platform
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from ..errors import StorageError

_SCHEME = "-address"  # a colon would make orbax take the path for an address
# Of this machine: on a disk that several share, the processes of the others cannot be asked whether they run.
_PREFIX = f"vqdiffusion-copies-{re.sub(r'[^A-Za-z0-9_.]', '_', platform.node())}-"
_lock = threading.Lock()
_root: Path | None = None
_owner: int | None = None  # the process that deletes it, which no forked child does
_kept_copies: dict[str, str] = {}  # folders of other caches -> the addresses that they are copies of


def scratch(kind: str, address: str) -> Path:
    """Return the place of the copy of an address, whose parent exists.

    The address stands in the place, so that ``as_typed`` finds it again.
    kind: "read", or "written" and a number; the same address may be both.
    """
    scheme, _, rest = address.partition("://")
    place = _folder() / kind / f"{scheme}{_SCHEME}" / rest.strip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def copy_of(folder: str | os.PathLike[str], address: str) -> None:
    """Let ``as_typed`` name an address in place of a folder that another cache keeps of it."""
    _kept_copies[os.fspath(folder)] = address


def as_typed(text: str) -> str:
    """Return a text for people with addresses in place of the copies of them on this machine."""
    for folder, address in _kept_copies.items():
        text = text.replace(folder, address)
    if _root is None or str(_root) not in text:
        return text
    return re.sub(rf"{re.escape(str(_root))}/(?:read|written/\d+)/([^/\s]+){_SCHEME}/", r"\1://", text)


def name_addresses(error: BaseException) -> None:
    """Put addresses in place of copies into the message of an exception."""
    error.args = tuple(as_typed(part) if isinstance(part, str) else part for part in error.args)
    if isinstance(error, OSError):
        for field in ("filename", "filename2"):
            if isinstance(value := getattr(error, field), str | os.PathLike):
                setattr(error, field, as_typed(os.fspath(value)))


@contextlib.contextmanager
def naming_addresses() -> Iterator[None]:
    """Put addresses in place of copies into the messages of exceptions that pass; also a decorator."""
    try:
        yield
    except Exception as error:
        name_addresses(error)
        raise


def check_room(folder: Path, size: int, typed: str) -> None:
    """Raise StorageError unless the disk of ``folder`` has room for a copy of ``size`` bytes.

    typed: the address that is to be copied, as it was typed.
    """
    if size > (room := shutil.disk_usage(folder).free):
        raise StorageError(
            f"{typed} has {size / 2**30:.3g} GiB, but {room / 2**30:.3g} GiB are free for its copy in "
            f"{tempfile.gettempdir()}; name another place in TMPDIR"
        )


def room_of(folder: Path) -> int:
    """Return the bytes that may be copied to the disk of ``folder`` if nobody knows how many will come."""
    return shutil.disk_usage(folder).free * 9 // 10


def _folder() -> Path:
    """Return the process's folder, made when it is first needed in TMPDIR."""
    global _root, _owner
    with _lock:
        if _root is None or _owner != os.getpid():
            _delete_abandoned()
            _root, _owner = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-")), os.getpid()
            atexit.register(_delete, _root, _owner)
        return _root


def _delete(folder: Path, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def _delete_abandoned() -> None:
    """Delete what killed processes of this user on this machine left behind."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
        with contextlib.suppress(OSError, ValueError):
            if folder.stat().st_uid == os.getuid() and not _runs(int(owner)):
                shutil.rmtree(folder, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
