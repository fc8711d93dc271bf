"""A folder at an address, worked on in a copy here, from which ``push`` puts what has changed."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from ..errors import StorageError
from ..files import is_temporary
from .mark import MARK, Mark
from .scratch import check_room, scratch
from .seals import seal_of
from .transfer import PROBE, Objects

_UNFINISHED = ".orbax-checkpoint-tmp"
_numbers = itertools.count()  # two runs of a process may write to one address

Facts = tuple[int, int]  # size and time


class StoredFolder:
    """A folder at an address.

    address: of the folder, which may hold objects already.
    wanted: which of them, by name, are copied here; of others an empty file stands for the name.
    owner: who runs, if it is the folder of a run, which then owns it (see ``mark``); if one that was killed left its
    mark there, half checkpoints are deleted.  Nothing else that lies at the address is deleted before it is written
    anew.

    Raises StorageError, one line, if the address cannot be written to, or what is wanted of it does not fit here.
    """

    def __init__(self, address: str, wanted: Callable[[str], bool] = lambda name: True, *, owner: str | None = None):
        self.objects = Objects(address, writing=True)
        if self.objects.is_one():
            raise StorageError(f"{address} is an object; name a folder")
        self.objects.check_writable()
        self.folder = scratch(f"written/{next(_numbers)}", address)
        self._pushing, self._untouched = threading.Lock(), True
        # Before the folder is looked at: what a former run still puts is told from here on.
        self._mark = None if owner is None else Mark(self.objects, owner)
        try:
            self._bring(wanted)
        except BaseException:
            self.release()
            raise

    @property
    def former(self) -> str | None:
        """Return who owned the folder before and has not ended, None if nobody has."""
        return None if self._mark is None else self._mark.former

    def push(self) -> None:
        """Put new and changed files, and delete the objects of files that are gone.  Raises StorageError."""
        with self._pushing:
            self._push()

    def release(self) -> None:
        """Take the mark off, if it is this run's."""
        if self._mark is not None:
            with suppress(StorageError):
                self._mark.release(untouched=self._untouched)

    def _bring(self, wanted: Callable[[str], bool]) -> None:
        """Copy here what is there already."""
        there = self.objects.sizes()
        there = {name: size for name, size in there.items() if name not in (PROBE, MARK)}
        seals = {seal for name in there if (seal := seal_of(name))}
        half = {name for name in there if (seal := seal_of(name)) and seal not in there}
        whole = sorted(there.keys() - half)
        copied = {name: there[name] for name in whole if wanted(name) or name in seals}
        check_room(self.folder.parent, sum(copied.values()), self.objects.address)
        if self.former is not None:  # a run that ends takes its mark off
            self._delete(name for name in half if name.startswith("checkpoints/"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.objects.fetch(copied, self.folder)
        for name in whole:
            if not (place := self.folder / name).exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
        self._put = self._files()
        if self._mark is not None:
            self._mark.check()  # another run may have begun while this one copied

    def _push(self) -> None:
        now = self._files()
        changed = {name for name, facts in now.items() if self._put.get(name) != facts}
        gone = self._put.keys() - now.keys()
        sealed = {seal for name in changed | gone if (seal := seal_of(name))}
        # A folder that only loses files is being deleted.
        kept = {seal for name in changed if (seal := seal_of(name))}
        # What is below a seal counts for nothing from here to the last line.
        self._check_mark()
        self._delete(sealed & self._put.keys())
        self._delete(gone - sealed)
        self._write(changed - sealed)
        if kept:
            self._check({name: facts[0] for name, facts in now.items() if seal_of(name) in kept - {name}})
            self._check_mark()
        self._write(kept & now.keys())
        self._put = {name: facts for name, facts in now.items() if name not in sealed - kept}

    def _check_mark(self) -> None:
        if self._mark is not None:
            self._mark.check()

    def _delete(self, names: Iterable[str]) -> None:
        if names := sorted(names):
            self._untouched = False
            self.objects.delete(names, self._mark and self._mark.check_at_times)

    def _write(self, names: Iterable[str]) -> None:
        if names := sorted(names):
            self._untouched = False
            self.objects.put(names, self.folder, self._mark and self._mark.check_at_times)

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
        """Return every file here that belongs there: all but what is half written, and the locks of this machine."""
        found = {}
        for folder, folders, files in os.walk(self.folder):
            folders[:] = [name for name in folders if not (is_temporary(name) or _UNFINISHED in name)]
            for file in files:
                path = Path(folder, file)
                name = path.relative_to(self.folder).as_posix()
                if is_temporary(file) or name == MARK:
                    continue
                with suppress(FileNotFoundError):  # deleted in this moment
                    about = path.stat()
                    found[name] = (about.st_size, about.st_mtime_ns)
        return found
