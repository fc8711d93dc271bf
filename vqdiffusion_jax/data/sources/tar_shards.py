"""Tar shards as img2dataset (webdataset) writes them, indexed once for random access."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import BrokenRecord, DataError
from ...files import write_whole
from ..records import Record
from .image_files import EXTENSIONS

_VERSION = 1
_INDEX = ".vqdiffusion_index.npz"


class TarShards:
    """The examples of ``root/*.tar``.  An example is the files that share a name up to the first dot.

    They are an image and a caption, in a ``.txt`` or ``.json``.

    Args:
      caption_field: the field of the ``.json`` with the caption, for examples without a ``.txt``.
      index: the file that keeps the index of all shards, by default a hidden one in ``root``.  A change of a shard
        makes it anew.
    """

    has_splits = False

    def __init__(self, root: Path, split: str, *, caption_field: str = "caption", index: str = ""):
        self.root, self._caption_field = root, caption_field
        shards = sorted(root.glob("*.tar"))
        if not shards:
            raise DataError(f"{root} holds no .tar file")
        facts = np.array([(s.stat().st_size, s.stat().st_mtime_ns) for s in shards], np.int64)
        self._shards = [shard.name for shard in shards]
        file = Path(index) if index else root / _INDEX
        table = _read_index(file, self._shards, facts)
        if table is None:
            table = _index(shards) | {"facts": facts}
            _write_index(file, table | {"version": np.int64(_VERSION), "shards": np.array(self._shards)})
        # Columns: shard; the image's offset and size; the text's offset (-1: none) and size; 1 if the text is JSON.
        self._places, self._keys = table["places"], table["keys"]

    def __len__(self) -> int:
        return len(self._places)

    def group(self, index: int) -> str:
        return self._name(index)

    def _name(self, index: int) -> str:
        return f"{self._shards[self._places[index, 0]]}/{self._keys[index].decode()}"

    def _read(self, name: str, shard: str, offset: int, size: int) -> bytes:
        try:
            # Opened each time, because there may be more shards than a process may hold open.
            with (self.root / shard).open("rb", buffering=0) as file:
                data = os.pread(file.fileno(), size, offset)
        except OSError as error:
            raise BrokenRecord(name, error.strerror or error) from error
        if len(data) != size:
            raise BrokenRecord(name, f"{shard} ends before it")
        return data

    def __getitem__(self, index: int) -> Record:
        shard, offset, size, text_offset, text_size, is_json = self._places[index].tolist()
        name, shard = self._name(index), self._shards[shard]
        record = Record(id=name, image=self._read(name, shard, offset, size))
        if text_offset >= 0:
            try:
                text = self._read(name, shard, text_offset, text_size).decode()
                caption = json.loads(text).get(self._caption_field) if is_json else text
            except (ValueError, AttributeError) as error:
                if isinstance(error, BrokenRecord):
                    raise
                raise BrokenRecord(name, f"its caption cannot be read: {error}") from error
            record["captions"] = [] if caption is None else [str(caption)]
        return record


def _index(shards: list[Path]) -> dict[str, np.ndarray]:
    places, keys = [], []
    for number, shard in enumerate(shards):
        members: dict[str, dict[str, tuple[int, int]]] = {}
        try:
            with tarfile.open(shard, "r:") as tar:
                for member in tar:
                    if member.isfile():
                        folder, _, base = member.name.rpartition("/")
                        stem, _, ending = base.partition(".")
                        key = f"{folder}/{stem}" if folder else stem
                        members.setdefault(key, {})["." + ending.lower()] = (member.offset_data, member.size)
        except (tarfile.TarError, OSError) as error:
            raise DataError(f"{shard} is not a whole tar file ({error}); download it again or move it away") from error
        for key, files in members.items():
            image = next((files[ending] for ending in EXTENSIONS if ending in files), None)
            if image is not None:
                text = files.get(".txt", files.get(".json", (-1, 0)))
                places.append((number, *image, *text, ".txt" not in files))
                keys.append(key.encode())
    return {"places": np.array(places, np.int64).reshape(-1, 6), "keys": np.array(keys, bytes)}


def _read_index(file: Path, shards: list[str], facts: np.ndarray) -> dict[str, np.ndarray] | None:
    """Return the index, or None if there is none for exactly these shards."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            table = dict(stored)
        fits = (
            int(table["version"]) == _VERSION
            and table["shards"].tolist() == shards
            and np.array_equal(table["facts"], facts)
        )
    except (OSError, ValueError, KeyError):
        return None
    return table if fits else None


def _write_index(file: Path, table: dict[str, Any]) -> None:
    """Write the index for the next run.  In a folder without write permission every run makes it anew."""
    try:
        with write_whole(file) as place, place.open("wb") as out:
            np.savez(out, **table)
    except OSError:
        pass
