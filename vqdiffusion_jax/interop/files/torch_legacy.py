"""PyTorch files from before version 1.6: five pickles, then the storages one after another.

The pickles are a magic number, the version of the format, the byte order of the machine, the tree, and the keys of the
storages in the order in which they follow, each as its count of numbers (8 bytes) and the numbers.
"""

from __future__ import annotations

import dataclasses
import struct
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ...errors import CheckpointError, brief
from ...lazy_tensor import Storage
from .safe_pickle import read_pickle, read_plain_pickle

MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the first pickle
PICKLE_BYTES = 64 * 2**20
_VERSION = 1001


def read_legacy(path: Path, file: BinaryIO) -> Any:
    """Return the tree of a file that begins with MAGIC, as ``open_checkpoint`` does.

    Raises CheckpointError, and what ``pickle_machine.run`` raises, for a file that is damaged or hostile.
    """
    stream = BytesIO(file.read(PICKLE_BYTES))
    read_plain_pickle(stream)
    version, system = read_plain_pickle(stream), read_plain_pickle(stream)
    if version != _VERSION or not isinstance(system, dict):
        raise CheckpointError(f"it has version {brief(version, 40)} of PyTorch's old format; {_VERSION} is read")
    if system.get("little_endian") is not True:
        raise CheckpointError("it was saved on a big-endian machine; save it again on a little-endian one")
    start = stream.tell()
    wanted: dict[str, Storage] = {}

    def promised(key: str, dtype: np.dtype | None, count: int) -> Storage:
        """Return a storage of which the place is not known yet."""
        storage = Storage(path, 0, count * (1 if dtype is None else dtype.itemsize), dtype)
        if wanted.setdefault(key, storage) != storage:
            raise CheckpointError(f"its storage {brief(key, 40)} is promised in two ways")
        return wanted[key]

    read_pickle(stream, promised)
    keys = read_plain_pickle(stream)
    if not isinstance(keys, list):
        raise CheckpointError("it lists no storages; it is truncated or corrupt")
    places, at, size = {}, stream.tell(), file.seek(0, 2)
    for key in keys:
        if not isinstance(key, str) or key not in wanted or key in places:
            raise CheckpointError(f"its storage {brief(key, 40)} belongs to no tensor, or to two")
        file.seek(at)
        (count,) = struct.unpack("<q", file.read(8))
        storage = dataclasses.replace(wanted[key], start=at + 8)
        item = 1 if storage.dtype is None else storage.dtype.itemsize
        if count * item != storage.size or storage.start + storage.size > size:
            raise CheckpointError(f"its storage {brief(key, 40)} is not as long as promised; it is truncated")
        places[key], at = storage, storage.start + storage.size
    if lacking := wanted.keys() - places.keys():
        raise CheckpointError(f"it lacks the storage {brief(min(lacking), 40)}; it is truncated or corrupt")
    stream.seek(start)
    return read_pickle(stream, lambda key, dtype, count: places[key])
