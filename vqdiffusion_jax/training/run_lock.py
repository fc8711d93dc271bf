"""A lock on a run's folder: two processes that trained in one folder would spoil each other's checkpoints."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import jax

from ..errors import CheckpointError, brief

_NAME = "run.lock"
_LONGEST = 200  # bytes of a note that are read
_HELD = (errno.EAGAIN, errno.EACCES)


class RunLock:
    """Held by the first process of a run from here to ``close``, or to the end of the process in whatever way.

    The file ``run.lock`` tells who holds it and stays behind; it is the lock that counts, not the file.
    Raises CheckpointError if another process holds it.  File systems without locks are not protected.
    """

    def __init__(self, folder: Path):
        self._folder, self._file = folder, None
        if jax.process_index() == 0:
            self._file = _locked(folder)

    def check(self) -> None:
        """Raise CheckpointError if the folder has been deleted, moved away or replaced since."""
        if self._file is None:
            return
        try:
            there = os.stat(self._folder / _NAME)
        except OSError:
            there = None
        if there is None or not os.path.samestat(there, os.fstat(self._file)):
            raise CheckpointError(
                f"{self._folder} is gone: it was deleted, moved or unmounted during the run; "
                "put it back and start again, the run goes on from its last checkpoint"
            )

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def _locked(folder: Path) -> int:
    """Return the open file descriptor of the lock."""
    try:
        file = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        raise CheckpointError(
            f"{folder / _NAME} cannot be written to: {error.strerror}; choose another --workdir"
        ) from error
    try:
        _lock(file)
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    except OSError as error:
        holder = brief(os.pread(file, _LONGEST, 0).decode("utf-8", "replace"))
        os.close(file)
        if error.errno not in _HELD:
            raise CheckpointError(
                f"{folder} cannot be written to: {error.strerror or error}; make room or choose another --workdir"
            ) from error
        raise CheckpointError(
            f"another run is training in {folder} ({holder}); wait until it has ended, or choose another --workdir"
        ) from error
    return file


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
