"""Folders to write to, on this machine or at addresses.

A bucket has no folders, no renaming and no locks; it has objects, each of which appears whole or not at all.  So a
folder is worked on in a copy here, under all the protections that files have, and ``push`` puts what has changed.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import Protocol

from ..errors import StorageError
from .addresses import address_of, check_address, local_path
from .pushes import Pushes
from .scratch import name_addresses
from .stored_folder import StoredFolder


class Written(Protocol):
    """A folder that is being written to."""

    folder: Path

    @property
    def former(self) -> str | None:
        """Return who owned the folder before and has not ended, None if nobody has.

        On this machine ``FolderLock`` is the mark of who owns a folder.
        """
        ...

    def push(self) -> None:
        """Put what has changed since the last time where it belongs; on this machine it is there."""
        ...

    def begin_push(self, ready: Callable[[], None]) -> None:
        """Begin ``push`` in the background, after ``ready``, which waits until the files to put are whole."""
        ...

    def wait(self) -> None:
        """Wait for the push that was begun last.  Raises what kept it from ending."""
        ...


class LocalFolder:
    """A folder of this machine."""

    former = None

    def __init__(self, folder: Path):
        self.folder = folder

    def push(self) -> None:
        """Do nothing: all is there."""

    def begin_push(self, ready: Callable[[], None]) -> None:
        """Do nothing: all is there."""

    def wait(self) -> None:
        """Do nothing: all is there."""


class AddressFolder:
    """A copy here of a folder at an address."""

    def __init__(self, stored: StoredFolder, pushes: Pushes):
        self.folder, self.former, self.push = stored.folder, stored.former, stored.push
        self.begin_push, self.wait = pushes.begin, pushes.wait


@contextmanager
def written(
    place: str | PathLike[str],
    *,
    wanted: Callable[[str], bool] = lambda name: True,
    owner: str | None = None,
    every: float | None = None,
) -> Iterator[Written]:
    """Yield the folder to write to in place of ``place``, and put at the end what has not been put yet.

    A path is itself.  At an address, files are put at the end after a failure too, as they would be left on a disk;
    messages of exceptions name the address.  If they cannot be put, the copy here is kept, and stderr names it.

    wanted, owner: see ``StoredFolder``.  every: seconds after which what is new is put in the meantime; the files must
    appear whole.
    Raises StorageError, before anything is done, for an address that cannot be served or written to.
    """
    address = address_of(place)
    if address is None:
        yield LocalFolder(local_path(place))
        return
    check_address(place, writing=True)
    stored = StoredFolder(address, wanted, owner=owner)
    try:
        with closing(Pushes(stored.push, every)) as pushes:
            yield AddressFolder(stored, pushes)
            pushes.wait()
    except BaseException as error:
        with suppress(StorageError):  # the first failure is the one to tell
            _last_push(stored)
        name_addresses(error)
        raise
    else:
        _last_push(stored)
    finally:
        stored.release()
        shutil.rmtree(stored.folder, ignore_errors=True)


def _last_push(stored: StoredFolder) -> None:
    """Put what has not been put yet; if that fails, keep the copy here and say where it lies."""
    try:
        stored.push()
    except BaseException:
        kept = Path(tempfile.mkdtemp(prefix="vqdiffusion-kept-"), stored.folder.name)
        os.replace(stored.folder, kept)
        print(f"kept in {kept}: files for {stored.objects.address} that may not have got there", file=sys.stderr)
        raise
