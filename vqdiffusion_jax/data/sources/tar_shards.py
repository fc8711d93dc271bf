"""Tar shards as img2dataset (webdataset) writes them, indexed once for random access."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from ...errors import BrokenRecord, one_line
from ...files import write_whole
from ...user_arrays import read_npz
from ...user_files import decode_text, open_regular, parse_json
from ..account import Account
from ..caption_table import CAPTION_COLUMNS
from ..captions import captions_in, captions_of_text, field_of
from ..records import Record, record_id
from ..tables import column_of, parse_unique
from .shards import shard_files
from .tar_index import index_shard

_VERSION = 4
# Of the index: shard; offset and size of the picture, of the text and of the JSON; without one the offset is -1.
_COLUMNS = 7
_INDEX = ".vqdiffusion_index.npz"
_MOST_TEXT = 1 << 24


class TarShards:
    """The examples of the tar files in ``root``, or below it.  An example is the files that share a key.

    They are an image and a caption, in a ``.txt`` or ``.json``; see ``tar_index.index_shard``.  Names of shards
    (``train-0001.tar``) and of their folders tell splits.

    Args:
      caption_field: the field of the ``.json`` with the caption, for examples without a ``.txt`` that has one; by
        default the first usual one (``caption_table``).  It may hold a list, and ``"caption.en"`` leads into a table.
      index: the file that keeps the index of all shards, by default a hidden one in ``root``.  A change of a shard
        makes it anew.
      splits: how names tell splits, see ``data.splits.divide``: ``""``, ``"none"`` or a dict of patterns.
      links_out: also read what links to folders in ``root`` lead to outside of it.
    """

    def __init__(
        self,
        root: Path,
        split: str,
        *,
        caption_field: str = "",
        index: str = "",
        splits: str | Mapping[str, str] = "",
        links_out: bool = False,
    ):
        self.account = Account()
        shards = shard_files(root, split, ".tar", account=self.account, splits=splits, links_out=links_out)
        self.root, self.has_splits, self._caption_field = root, shards.has_splits, caption_field
        self._shards = [name or root.name for name in shards.names]
        self._paths = [root / name for name in shards.names]
        file = Path(index) if index else (root if root.is_dir() else root.parent) / self._index_name(split)
        facts = np.array([_facts(path) for path in self._paths], np.int64)
        table = _read_index(file, self._shards, facts)
        if table is None:
            table = _index(self._paths, self._shards) | {"facts": facts}
            _write_index(file, table | {"version": np.int64(_VERSION), "shards": np.array(self._shards)})
        _restore(self.account, table["account"])
        self._places, self._keys = table["places"], table["keys"]

    def _index_name(self, split: str) -> str:
        """Return the name of the hidden index; each split of a data set that has splits has its own."""
        if not self.has_splits or split == "train":
            return _INDEX
        return _INDEX.replace("_index", f"_index_{split}")

    def __len__(self) -> int:
        return len(self._places)

    def group(self, index: int) -> str:
        return self._name(index)

    def _name(self, index: int) -> str:
        key = self._keys[index].decode(errors="surrogateescape")
        return f"{self._shards[self._places[index, 0]]}/{key}"

    def _read(self, name: str, shard: int, offset: int, size: int) -> bytes:
        try:
            # Opened each time, because there may be more shards than a process may hold open.
            with open_regular(self._paths[shard]) as file:
                data = os.pread(file.fileno(), size, offset)
        except OSError as error:
            raise BrokenRecord(name, error.strerror or error) from error
        if len(data) != size:
            raise BrokenRecord(name, f"{self._shards[shard]} ends before it")
        return data

    def __getitem__(self, index: int) -> Record:
        shard, offset, size, text_offset, text_size, json_offset, json_size = self._places[index].tolist()
        name = self._name(index)
        record = Record(id=record_id(name), image=self._read(name, shard, offset, size))
        captions = self._captions(name, shard, text_offset, text_size, self._of_text)
        record["captions"] = captions or self._captions(name, shard, json_offset, json_size, self._of_json)
        return record

    def _captions(self, name: str, shard: int, offset: int, size: int, read: Callable[[bytes], list[str]]) -> list[str]:
        """Return the captions in one of an example's files, none if it is absent."""
        if offset < 0:
            return []
        if size > _MOST_TEXT:
            raise BrokenRecord(name, f"its caption has {size} bytes, more than {_MOST_TEXT}")
        try:
            return read(self._read(name, shard, offset, size))
        except BrokenRecord:
            raise
        except ValueError as error:
            raise BrokenRecord(name, error) from error

    def _of_text(self, data: bytes) -> list[str]:
        return captions_of_text(data, "its caption")

    def _of_json(self, data: bytes) -> list[str]:
        value = parse_unique(decode_text(data, "its .json"), "its .json")
        if isinstance(value, dict):
            column = column_of(value, self._caption_field, CAPTION_COLUMNS) or self._caption_field
            value = field_of(value, column)
        return captions_in(value, table=True)


def _facts(path: Path) -> tuple[int, int]:
    """Return the size and the time of a shard; of one that is gone, numbers that no file has."""
    try:
        about = path.stat()
    except OSError:
        return -1, -1
    return about.st_size, about.st_mtime_ns


def _index(paths: list[Path], names: list[str]) -> dict[str, np.ndarray]:
    places, keys, account = [], [], Account()
    for number, (path, name) in enumerate(zip(paths, names, strict=True)):
        try:
            for place in index_shard(path, name, account):
                places.append((number, *place[1:]))
                keys.append(place.key.encode(errors="surrogateescape"))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
            account.broke(name, reason)
    table = {"places": np.array(places, np.int64).reshape(-1, _COLUMNS), "keys": np.array(keys, bytes)}
    return table | {"account": np.frombuffer(json.dumps(account.to_table()).encode(), np.uint8)}


def _restore(account: Account, stored: np.ndarray) -> None:
    account.add(parse_json(stored.tobytes().decode(), "the index of tar files"))


def _read_index(file: Path, shards: list[str], facts: np.ndarray) -> dict[str, np.ndarray] | None:
    """Return the index, or None if there is none for exactly these shards.

    A damaged one is made again, with a warning.
    """
    if not os.path.lexists(file):
        return None
    try:
        table = read_npz(file)
        if int(table["version"]) != _VERSION or table["shards"].tolist() != shards:
            return None
        if not np.array_equal(table["facts"], facts):
            return None
        _check_index(table, facts)
    except Exception as error:  # zipfile, zlib and numpy raise errors of many classes for damaged files
        logging.warning("%s is damaged (%s); it is made again", file, one_line(error))
        return None
    return table


def _check_index(table: dict[str, np.ndarray], facts: np.ndarray) -> None:
    """Raise ValueError for places outside the shards."""
    places, keys = table["places"], table["keys"]
    if places.dtype != np.int64 or places.ndim != 2 or places.shape[1] != _COLUMNS or keys.dtype.kind != "S":
        raise ValueError("its arrays are of other types")
    if keys.shape != places.shape[:1] or places.size == 0:
        if len(places) != len(keys):
            raise ValueError("it has not as many keys as places")
        return
    shard, offsets, sizes = places[:, 0], places[:, 1::2], places[:, 2::2]
    ends = (offsets + sizes).max(1)
    if (
        shard.min() < 0
        or shard.max() >= len(facts)
        or offsets[:, 0].min() < 0
        or min(offsets.min() + 1, sizes.min()) < 0
    ):
        raise ValueError("it names places that no shard has")
    if (ends > facts[shard, 0]).any():
        raise ValueError("it names places that no shard has")


def _write_index(file: Path, table: dict[str, Any]) -> None:
    """Write the index for the next run.  In a folder without write permission every run makes it anew."""
    try:
        with write_whole(file) as place, place.open("wb") as out:
            np.savez(out, **table)
    except OSError:
        pass
