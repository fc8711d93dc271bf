"""Files and folders at addresses, copied here to be read."""

from __future__ import annotations

import errno
import threading
from os import PathLike, fspath
from pathlib import Path

from .addresses import address_of, local_path, scheme_of
from .scratch import check_room, scratch
from .transfer import Objects

_lock = threading.Lock()
_kept: dict[str, Path] = {}


def here(place: str | PathLike[str]) -> Path:
    """Return the file or folder at an address as one on this machine; a path as it is.

    A process copies an address once.  The copy goes with the process.
    Raises FileNotFoundError if there is neither an object of that name nor any below it, and StorageError, one line,
    for whatever keeps it from being read.
    """
    address = address_of(place)
    if address is None:
        return local_path(place)
    with _lock:
        if address not in _kept or not _kept[address].exists():
            _kept[address] = _copied(address, fspath(place))
        return _kept[address]


def _copied(address: str, typed: str) -> Path:
    objects = Objects(address)
    # Of http, which has no list of names, one file.
    plain = scheme_of(address) in ("http", "https")
    names: dict[str, int | None] = {"": None} if plain else {**objects.sizes()}
    if not names:
        raise FileNotFoundError(errno.ENOENT, "there is no such object, and none below it", typed)
    if "" in names:
        names = {"": names[""]}
    place = scratch("read", address)
    check_room(place.parent, sum(size or 0 for size in names.values()), typed)
    objects.fetch(names, place)
    return place
