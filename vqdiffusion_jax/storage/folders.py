"""Folders at addresses, written here and put there file by file.

A bucket has no folders, no renaming and no locks; it has objects, each of which appears whole or not at all.  So a
folder is worked on in a copy here, under all the protections that files have, and ``push`` puts what has changed.
Some folders count as a whole by one file that is put last and deleted first, their seal: a checkpoint by orbax's
``commit_success.txt``, a model folder by its ``config.json``.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from os import PathLike, fspath
from pathlib import Path
from typing import Protocol

from ..errors import StorageError, brief
from .addresses import address_of, check_address, local_path
from .scratch import as_typed, scratch
from .transfer import PROBE, Objects

_CHECKPOINT = re.compile(r"((?:.*/)?checkpoints/\d+)/.*", re.DOTALL)
_WEIGHTS = re.compile(r"((?:.*/)?)(?:weights/.*|weights\.safetensors)", re.DOTALL)
MARK = "run.lock"
_UNFINISHED = ".orbax-checkpoint-tmp"
_numbers = itertools.count()  # two runs of a process may write to one address

Facts = tuple[int, int]  # size and time


class Written(Protocol):
    """A folder that is being written to."""

    folder: Path

    def push(self) -> None:
        """Put what has changed since the last time where it belongs; on this machine it is there."""
        ...

    def own(self, holder: str) -> str | None:
        """Mark the folder as this run's; return who marked it before and has not ended, None if nobody has.

        A bucket has no locks: the run that marked it last owns it, and ``push`` of any other raises StorageError.  On
        this machine ``FolderLock`` is the mark.
        """
        ...


class LocalFolder:
    """A folder of this machine."""

    def __init__(self, folder: Path):
        self.folder = folder

    def push(self) -> None:
        """Do nothing: all is there."""

    def own(self, holder: str) -> str | None:
        """Do nothing: another lock is at hand."""


class StoredFolder:
    """A folder at an address.

    address: of the folder, which may hold objects already.
    wanted: which of them, by name, are copied here; of others an empty file stands for the name.
    of_a_run: it is the folder of a training run; if one that was killed left its mark there, half checkpoints are
    deleted.  Nothing else that lies at the address is deleted before it is written anew.

    Raises StorageError, one line, if the address cannot be written to.
    """

    def __init__(self, address: str, wanted: Callable[[str], bool] = lambda name: True, *, of_a_run: bool = False):
        self.objects = Objects(address, writing=True)
        self.objects.check_writable()
        self.folder = scratch(f"written/{next(_numbers)}", address)
        there = self.objects.sizes()
        there = {name: size for name, size in there.items() if not name.endswith((PROBE, MARK))}
        if "" in there:
            raise StorageError(f"{address} is an object; name a folder")
        seals = {seal for name in there if (seal := seal_of(name))}
        half = {name for name in there if (seal := seal_of(name)) and seal not in there}
        if of_a_run and self.objects.read(MARK) is not None:  # which a run that ends takes off
            self.objects.delete(sorted(name for name in half if name.startswith("checkpoints/")))
        self.folder.mkdir(parents=True, exist_ok=True)
        whole = sorted(there.keys() - half)
        self.objects.fetch({name: there[name] for name in whole if wanted(name) or name in seals}, self.folder)
        for name in whole:
            if not (place := self.folder / name).exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
        self._put = self._files()
        self._pushing, self._mark = threading.Lock(), b""

    def push(self) -> None:
        """Put new and changed files, and delete the objects of files that are gone.  Raises StorageError."""
        with self._pushing:
            self._push()

    def own(self, holder: str) -> str | None:
        before = self.objects.read(MARK)
        self._mark = f"{holder}, run {uuid.uuid4().hex}\n".encode()
        self.objects.write(MARK, self._mark)
        return None if before is None else _holder(before)

    def release(self) -> None:
        """Take the mark off, if it is this run's."""
        if self._mark and self.objects.read(MARK) == self._mark:
            self.objects.delete([MARK])

    def _push(self) -> None:
        if self._mark and (found := self.objects.read(MARK)) != self._mark:
            why = "its mark was deleted" if found is None else f"another has begun there ({_holder(found)})"
            raise StorageError(f"{self.objects.address} no longer belongs to this run: {why}; this one ends")
        now = self._files()
        changed = {name for name, facts in now.items() if self._put.get(name) != facts}
        gone = self._put.keys() - now.keys()
        sealed = {seal for name in changed | gone if (seal := seal_of(name))}
        # A folder that only loses files is being deleted.
        kept = {seal for name in changed if (seal := seal_of(name))}
        # What is below a seal counts for nothing from here to the last line.
        self.objects.delete(sorted(sealed & self._put.keys()))
        self.objects.delete(sorted(gone - sealed))
        self.objects.put(sorted(changed - sealed), self.folder)
        if kept:
            self._check({name: facts[0] for name, facts in now.items() if seal_of(name) in kept - {name}})
        self.objects.put(sorted(kept & now.keys()), self.folder)
        self._put = {name: facts for name, facts in now.items() if name not in sealed - kept}

    def _check(self, sizes: Mapping[str, int]) -> None:
        """Raise StorageError unless there are objects of these sizes, before the seal that says so."""
        there = self.objects.sizes()
        if wrong := [name for name, size in sizes.items() if there.get(name) != size]:
            found = there.get(wrong[0], 0)
            raise StorageError(
                f"{self.objects.named(wrong[0])} has {found} bytes where {sizes[wrong[0]]} were put; start again, the "
                "run goes on from what is whole"
            )

    def _files(self) -> dict[str, Facts]:
        """Return every file here that belongs there; hidden ones are half written, or of this machine alone."""
        found = {}
        for folder, folders, files in os.walk(self.folder):
            folders[:] = [name for name in folders if not name.startswith(".") and _UNFINISHED not in name]
            for file in files:
                if file.startswith(".") or file.endswith((".lock", ".tmp")):
                    continue
                path = Path(folder, file)
                with suppress(FileNotFoundError):  # deleted in this moment
                    about = path.stat()
                    found[path.relative_to(self.folder).as_posix()] = (about.st_size, about.st_mtime_ns)
        return found


def seal_of(name: str) -> str | None:
    """Return the file that makes the folder of a file count, None where each file counts for itself."""
    if match := _CHECKPOINT.fullmatch(name):
        return f"{match[1]}/commit_success.txt"
    if match := _WEIGHTS.fullmatch(name):
        return f"{match[1]}config.json"
    return None


def _holder(mark: bytes) -> str:
    return brief(mark.decode("utf-8", "replace").partition(", run ")[0])


class Putting:
    """The pushes of a folder in the background, one at a time.

    ready: called before each in its thread; waits until the files to put are whole.
    """

    def __init__(self, folder: Written, ready: Callable[[], None]):
        self._folder, self._ready = folder, ready
        self._pool = ThreadPoolExecutor(1, "putting") if isinstance(folder, StoredFolder) else None
        self._last: Future[None] | None = None

    def begin(self) -> None:
        """Begin a push; the one before must have ended."""
        if self._pool is not None:
            self._last = self._pool.submit(self._put)

    def wait(self) -> None:
        """Wait for the last push.  Raises what kept it from ending."""
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def close(self) -> None:
        """Wait for the last push and end the thread."""
        try:
            self.wait()
        finally:
            if self._pool is not None:
                self._pool.shutdown()

    def _put(self) -> None:
        self._ready()
        self._folder.push()


@contextmanager
def written(
    place: str | PathLike[str],
    *,
    wanted: Callable[[str], bool] = lambda name: True,
    of_a_run: bool = False,
    every: float | None = None,
) -> Iterator[Written]:
    """Yield the folder to write to in place of ``place``, and put at the end what has not been put yet.

    A path is itself.  At an address, files are put at the end after a failure too, as they would be left on a disk;
    messages of exceptions name the address.  If they cannot be put, the copy here is kept, and stderr names it.

    wanted, of_a_run: see ``StoredFolder``.  every: seconds after which what is new is put in the meantime; the
    files must appear whole.
    Raises StorageError, before anything is done, for an address that cannot be served or written to.
    """
    address = address_of(place)
    if address is None:
        yield LocalFolder(local_path(place))
        return
    check_address(place, writing=True)
    stored = StoredFolder(address, wanted, of_a_run=of_a_run)
    try:
        with _pushed_every(every, stored):
            yield stored
    except BaseException as error:
        with suppress(StorageError):  # the first failure is the one to tell
            _last_push(stored)
        name_addresses(error)
        raise
    else:
        _last_push(stored)
    finally:
        with suppress(StorageError):
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


@contextmanager
def _pushed_every(seconds: float | None, stored: StoredFolder) -> Iterator[None]:
    """Push now and then in a thread; what fails there is tried again, and told by the last push."""
    if seconds is None:
        yield
        return
    ended = threading.Event()

    def push() -> None:
        while not ended.wait(seconds):
            with suppress(StorageError, OSError):
                stored.push()

    thread = threading.Thread(target=push, name="pushing", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def name_addresses(error: BaseException) -> None:
    """Put addresses in place of copies into the message of an exception."""
    error.args = tuple(as_typed(part) if isinstance(part, str) else part for part in error.args)
    if isinstance(error, OSError):
        for field in ("filename", "filename2"):
            if isinstance(value := getattr(error, field), str | PathLike):
                setattr(error, field, as_typed(fspath(value)))
