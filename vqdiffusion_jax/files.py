"""Writes to disk that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Of what is half written, kept for a moment, or tried out; and of the locks beside token caches.
_OWN = re.compile(r"\.(.+\.)?[0-9a-f]{32}|\..+\.(former|new|partial)|\.part-\d+-of-\d+\.lock", re.DOTALL)


def is_temporary(name: str) -> bool:
    """Return whether a file or folder of this name, without its folder, is one that this package makes for a while."""
    return _OWN.fullmatch(name) is not None


def check_empty(folder: str | Path) -> None:
    """Raise FileExistsError unless ``folder`` is absent or an empty folder."""
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not an empty folder; name one that is absent or empty")


@contextmanager
def whole_or_not_at_all(folder: str | Path) -> Iterator[Path]:
    """Yield a new folder beside ``folder``; it takes that name at the end and vanishes if anything fails.

    Raises FileExistsError if ``folder`` holds anything.
    """
    folder = Path(folder)
    check_empty(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    place = folder.parent / f".{folder.name}.{uuid.uuid4().hex}"
    place.mkdir()
    try:
        yield place
        place.replace(folder)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


def replace_folder(folder: Path, new: Path) -> None:
    """Give the folder ``new``, on the same disk, the name ``folder``; the folder that had it is deleted last.

    Python cannot exchange the names of two folders at once.  If a process is killed between the two renamings,
    ``put_back(folder)`` undoes the first.
    """
    former = _former(folder)
    if folder.exists():
        folder.replace(former)
    try:
        new.replace(folder)
    except BaseException:
        put_back(folder)
        raise
    shutil.rmtree(former, ignore_errors=True)


def put_back(folder: Path) -> None:
    """Give a folder that ``replace_folder`` moved away its name again, unless another one has it."""
    if not folder.exists() and _former(folder).exists():
        _former(folder).replace(folder)


def _former(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.former")


def check_replaceable(file: Path) -> None:
    """Raise OSError if ``file`` is there and is a folder, a device or a pipe."""
    if file.exists() and not file.is_file():
        raise OSError(errno.EINVAL, "it is no regular file, and is not replaced; name another", str(file))


@contextmanager
def write_whole(file: str | Path) -> Iterator[Path]:
    """Yield a path beside ``file`` to write to; it takes the name of ``file`` at the end, and vanishes on failure.

    Raises OSError, before anything is written, if ``file`` is a folder, a device or a pipe, whose place it would take.
    """
    file = Path(file)
    check_replaceable(file)
    place = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        yield place
        place.replace(file)
    except BaseException as error:
        with contextlib.suppress(OSError):  # nothing was written where there is no folder
            place.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(place):
            error.filename = str(file)  # whoever reads the error knows of no other
        raise


def with_usual_permissions(file: str | Path) -> None:
    """Give a file the permissions that new files get beside it; some libraries let nobody but the owner read theirs."""
    file = Path(file)
    probe = file.with_name(
        f".{uuid.uuid4().hex}"
    )  # the umask itself cannot be read without changing it for all threads
    probe.touch()
    try:
        file.chmod(stat.S_IMODE(probe.stat().st_mode))
    finally:
        probe.unlink()
