"""Objects listed, fetched and put, whole ones alone, with every failure told in one line with the address."""

from __future__ import annotations

import asyncio
import errno
import functools
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from ..errors import ConfigError, StorageError, TooMuch, brief, one_line, shown
from ..patience import Progress, patience, within
from .addresses import filesystem
from .listing import check_names, counted
from .scratch import room_of
from .tries import tried

PROBE = ".vqdiffusion-probe"
_AT_ONCE = 8
_LARGEST = 2**60  # bytes of an object
_LONGEST_NAME = 1024  # bytes, of S3 and Google; a longer one is nested deeper than folders are made
_UNWRITABLE = "cannot be written to"
_UNLISTED = "cannot be listed"
_LISTS = 5  # a list of many objects may take so many times as long as another answer
_UNTOLD = 100 * 2**20  # bytes that libraries move before they tell of it, at most
_SLOWEST = 128 * 2**10  # bytes a second of these

Ask = Callable[..., Any]
Check = Callable[[], None] | None
T = TypeVar("T")


class Objects:
    """The objects below an address, or the one that has it.  Names are relative to it, "" for the address itself."""

    def __init__(self, address: str, *, writing: bool = False):
        self.address = address.rstrip("/")
        self._files, self._path = filesystem(address, writing=writing)

    def named(self, name: str) -> str:
        """Return the address of one of the objects."""
        return f"{self.address}/{name}" if name else self.address

    def is_one(self) -> bool:
        """Return whether the address itself is that of an object."""
        return self._asked("", "cannot be read", lambda ask: ask("isfile", self._path))

    def sizes(self) -> dict[str, int]:
        """Return the size of every object below the address by its name, "" if the address is an object itself.

        Objects whose names cannot be those of files here are left out.  More than ``MOST_NAMES`` are a StorageError.
        """

        def find(ask: Ask) -> dict[str, Any]:
            self._files.invalidate_cache()  # of what another process has changed since
            with suppress(FileNotFoundError), counted(self._files):
                found = ask("find", self._path, detail=True)
                check_names(len(found))
                return found
            return {}

        sizes = {}
        for path, about in self._asked("", _UNLISTED, find, patience() * _LISTS).items():
            name = path[len(self._path) :].strip("/")
            if about.get("type") != "directory" and not path.endswith("/") and _is_usable(name):
                sizes[name] = self._size_of(name, about.get("size"))
        return sizes

    def _size_of(self, name: str, size: Any) -> int:
        if size is None:
            return 0
        if not isinstance(size, int) or not 0 <= size < _LARGEST:
            raise StorageError(f"{self.named(name)} cannot be read: its size is listed as {shown(size)}")
        return size

    def fetch(self, sizes: Mapping[str, int | None], folder: Path) -> None:
        """Copy objects into ``folder``, under their names; the address itself becomes ``folder``, a file.

        sizes: of each name, where it is known.  A bar shows the progress on a terminal.
        """
        self._each(lambda name: self._fetch(name, sizes[name], folder / name if name else folder), sizes, "fetched")

    def put(self, names: Iterable[str], folder: Path, check: Check = None) -> None:
        """Copy files of ``folder`` to objects of their names; each appears whole, or stays as it was.

        check: called before each; what it raises ends all of it.
        """
        self._each(lambda name: self._put(name, folder / name), names, "put", check)

    def delete(self, names: Iterable[str], check: Check = None) -> None:
        """Delete objects; those that are gone already are no fault.  check: as of ``put``."""
        self._each(self._delete, names, "deleted", check)

    def read(self, name: str) -> bytes | None:
        """Return the bytes of an object, None if it does not exist."""

        def cat(ask: Ask) -> bytes | None:
            with suppress(FileNotFoundError):
                return ask("cat_file", self._place(name))
            return None

        return self._asked(name, "cannot be read", cat)

    def write(self, name: str, data: bytes) -> None:
        """Put an object of these bytes."""
        self._asked(name, _UNWRITABLE, lambda ask: ask("pipe_file", self._place(name), data))

    def check_writable(self) -> None:
        """Put an object below the address and delete it."""

        def probe(ask: Ask) -> None:
            ask("pipe_file", self._place(PROBE), b"x")
            with suppress(FileNotFoundError):  # another process has deleted its own, of the same name
                ask("rm_file", self._place(PROBE))

        self._asked("", _UNWRITABLE, probe)

    def _place(self, name: str) -> str:
        return f"{self._path}/{name}" if name else self._path

    def _fetch(self, name: str, size: int | None, file: Path) -> None:
        def get(progress: Progress) -> None:
            try:
                self._ask(progress, "get_file", self._place(name), str(file), callback=_telling(progress))
                if size is not None and (came := file.stat().st_size) != size:
                    raise ConnectionError(f"{came} of its {size} bytes came; try again")
            except BaseException:
                file.unlink(missing_ok=True)  # half of it, or more than there is room for
                raise

        file.parent.mkdir(parents=True, exist_ok=True)
        if size == 0:  # there is nothing to ask for; folders of other tools are thousands of such objects
            file.touch()
            return
        most = room_of(file.parent) if size is None else size
        self._moved(name, "cannot be read", get, size, most)

    def _put(self, name: str, file: Path) -> None:
        def put(progress: Progress) -> None:
            self._ask(progress, "put_file", str(file), self._place(name), callback=_telling(progress))

        self._moved(name, _UNWRITABLE, put, file.stat().st_size)

    def _delete(self, name: str) -> None:
        def remove(ask: Ask) -> None:
            with suppress(FileNotFoundError):
                ask("rm_file", self._place(name))

        self._asked(name, "cannot be deleted", remove)

    def _each(self, do: Callable[[str], None], names: Iterable[str], what: str, check: Check = None) -> None:
        def checked(name: str) -> None:
            if check is not None:
                check()
            do(name)

        names = list(names)
        if len(names) < 2:
            for name in names:
                checked(name)
            return
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            try:
                for _ in _watched(pool.map(checked, names), len(names), f"{self.address} {what}"):
                    pass
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _moved(
        self, name: str, what: str, move: Callable[[Progress], T], size: int | None, most: int | None = None
    ) -> T:
        """Return what ``move`` returns, which tells how much of ``size`` it has moved, and may move ``most`` bytes."""
        seconds = patience() + min(_UNTOLD, size or 0) / _SLOWEST  # of http, where none is known, all is told

        def once() -> T:
            progress = Progress(seconds, most=most)
            return within(lambda: move(progress), progress)

        return self._tried(name, what, once)

    def _asked(self, name: str, what: str, call: Callable[[Ask], T], seconds: float | None = None) -> T:
        """Return what ``call`` returns, which asks the provider's library, within some seconds."""

        def once() -> T:
            progress = Progress(seconds or patience())
            return within(lambda: call(functools.partial(self._ask, progress)), progress)

        return self._tried(name, what, once)

    def _ask(self, progress: Progress, method: str, *arguments: Any, **options: Any) -> Any:
        """Return what a method of the provider's library returns, which is cancelled if it is given up."""
        if not self._files.async_impl:
            return getattr(self._files, method)(*arguments, **options)
        asked = getattr(self._files, f"_{method}")(*arguments, **options)
        answer = asyncio.run_coroutine_threadsafe(asked, self._files.loop)
        progress.if_given_up(answer.cancel)
        return answer.result()

    def _tried(self, name: str, what: str, call: Callable[[], T]) -> T:
        """Return what a call to the provider's library returns, after failures that pass too.

        Whatever it raises becomes a StorageError; a disk of this machine speaks for itself.
        """
        try:
            return tried(call)
        except ConfigError:  # of the settings here
            raise
        except Exception as error:
            if isinstance(error, FileNotFoundError) and what == _UNWRITABLE:
                raise StorageError(f"{self.named(name)} {what}: there is no such bucket; make it first") from error
            if isinstance(error, TooMuch):
                whose = "name a folder of fewer objects" if what == _UNLISTED else "it grows"
                raise StorageError(f"{self.named(name)} {what}: {error}; {whose}, or its server is at fault") from error
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageError(
                    f"{self.named(name)} {what}: {os.strerror(error.errno)} on this machine, where copies lie in "
                    "TMPDIR; make room, or name another place in TMPDIR"
                ) from error
            raise StorageError(f"{self.named(name)} {what}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return brief(one_line(said.strip(" ,") or type(error).__name__), 300)  # gcsfs puts a code behind nothing


def _telling(progress: Progress) -> Any:
    """Return the callback of fsspec that tells what has been moved, and ends what moves too much."""
    told = _telling_class()()
    told.progress = progress
    return told


@functools.cache
def _telling_class() -> Any:
    import fsspec

    class Telling(fsspec.Callback):
        progress: Progress

        def set_size(self, size: int | None) -> None:
            most = self.progress.most
            if size is not None and most is not None and size > most:
                raise TooMuch(f"{size} bytes are announced, and there are {most}, or room for them")
            super().set_size(size)

        def relative_update(self, inc: int = 1) -> None:
            self.progress.came(inc)
            super().relative_update(inc)

        def absolute_update(self, value: int) -> None:
            self.progress.reached(value)
            super().absolute_update(value)

    return Telling


def _is_usable(name: str) -> bool:
    """Return whether a file may have an object's name: no part of it leads elsewhere."""
    if "\0" in name or len(name) > _LONGEST_NAME:
        return False
    return not any(part in (".", "..") or not part for part in name.split("/")) or not name


def _watched(done: Iterable[Any], total: int, told: str) -> Iterable[Any]:
    """Show a bar on a terminal, of what takes more than a second."""
    from tqdm import tqdm

    return tqdm(done, total=total, desc=told, unit="file", delay=1, disable=None)
