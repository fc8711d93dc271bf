"""A lock on a folder that one process at a time may write to."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path

from .errors import brief

_LONGEST = 200  # bytes of a note that are read
_TRIES = 10
_HELD = (errno.EAGAIN, errno.EACCES)


class FolderLock:
    """A file in a folder, locked from here to ``close``, or to the end of the process in whatever way.

    The file tells who holds it.  It is the lock that counts: a file that a killed process left behind locks nothing.
    File systems without locks are not protected.

    Args:
      folder: must exist.
      name: the file's name.
      doing: what its holder does, for the error.
      flag: how to choose another folder, for the error.
      error: the type of all exceptions.
      held: whether this process is the one to hold it, among several that share the folder.

    Raises:
      error: another process holds it.
    """

    def __init__(self, folder: Path, name: str, *, doing: str, flag: str, error: type[ValueError], held: bool = True):
        self._folder, self._path, self._flag, self._error = folder, folder / name, flag, error
        self._file = self._locked(doing) if held else None

    def check(self) -> None:
        """Raise the error if the folder has been deleted, moved away or replaced since."""
        if self._file is not None and not self._path.exists():
            anew = "a new folder of its name is in the way, which may hold what was being written; "
            raise self._error(
                f"{self._folder} is gone: it was deleted, moved or unmounted during the run; "
                f"{anew if self._folder.exists() else ''}"
                "put it back and start again, the run goes on from its last checkpoint"
            )

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):  # a disk that has become read-only
                if self._is_there(file):
                    self._path.unlink()
            os.close(file)

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def _is_there(self, file: int) -> bool:
        """Return whether the open file still has its name."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(file))
        except OSError:
            return False

    def _locked(self, doing: str) -> int:
        """Return the open file descriptor of the lock."""
        file = self._opened(doing)
        for _ in range(_TRIES):
            if self._is_there(file):
                break
            os.close(file)  # its holder deleted it before this process had the lock
            file = self._opened(doing)
        return file

    def _opened(self, doing: str) -> int:
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError as error:
            raise self._error(
                f"{self._path} cannot be written to: {error.strerror}; choose another {self._flag}"
            ) from error
        try:
            _lock(file)
            os.ftruncate(file, 0)
            os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
            return file
        except OSError as error:
            holder = brief(os.pread(file, _LONGEST, 0).decode("utf-8", "replace"))
            os.close(file)
            if error.errno not in _HELD:
                raise self._error(
                    f"{self._folder} cannot be written to: {error.strerror or error}; make room or choose another "
                    f"{self._flag}"
                ) from error
            raise self._error(
                f"another run is {doing} in {self._folder} ({holder}); wait until it has ended, or choose another "
                f"{self._flag}"
            ) from error


def _lock(file: int) -> None:
    """Lock an open file, or leave it where the system or the file system has no locks."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            raise
