"""Parquet files that hold images, as img2dataset or a Hugging Face data set writes them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np

from ...errors import BrokenRecord, DataError
from ..extras import needed
from ..records import Record

_IMAGES = ("jpg", "png", "webp", "image")
_GROUPS_KEPT = 4  # row groups held in memory a process; img2dataset's have about 100 rows


class Parquet:
    """The rows of ``root/*.parquet`` that hold an image.  Reading a row reads its whole row group.

    Args:
      image_column: bytes, or a struct with a field ``bytes``; by default the first of jpg, png, webp and image.
      caption_column: a text or a list of texts; a missing column gives no captions.
      label_column: a whole number; a missing column gives no labels.
    """

    has_splits = False

    def __init__(
        self,
        root: Path,
        split: str,
        *,
        image_column: str = "",
        caption_column: str = "caption",
        label_column: str = "label",
    ):
        pq = needed("pyarrow.parquet", "a data set of parquet files")
        files = sorted(root.glob("*.parquet")) if root.is_dir() else [root]
        if not files:
            raise DataError(f"{root} holds no .parquet file")
        self._files = files
        places = []
        for number, path in enumerate(files):
            with _opened(pq, path) as file:
                names = file.schema_arrow.names
                image = image_column or next((name for name in _IMAGES if name in names), None)
                if image not in names:
                    wanted = image_column or "any of " + ", ".join(_IMAGES)
                    raise DataError(f"{path} has no column {wanted}; it has {', '.join(names)}")
                for group in range(file.num_row_groups):
                    rows = np.arange(file.metadata.row_group(group).num_rows)
                    if "status" in names:  # img2dataset keeps a row for what it could not download
                        status = file.read_row_group(group, columns=["status"])["status"].to_pylist()
                        rows = rows[np.array(status) == "success"]
                    places.append(np.stack([np.full_like(rows, number), np.full_like(rows, group), rows], 1))
            if number == 0:
                self._image = image
                self._columns = {"captions": caption_column, "label": label_column}
                self._columns = {role: column for role, column in self._columns.items() if column in names}
                self._key = "key" if "key" in names else None
            elif image != self._image or not set(self._columns.values()) <= set(names):
                raise DataError(f"{path} has other columns than {files[0].name}; all files must have the same")
        self._places = np.concatenate(places).astype(np.int32) if places else np.zeros((0, 3), np.int32)
        self._forget()

    def _forget(self) -> None:
        self._lock, self._groups = threading.Lock(), OrderedDict()

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_groups")}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._forget()

    def __len__(self) -> int:
        return len(self._places)

    def group(self, index: int) -> str:
        return self._name(index)

    def _name(self, index: int) -> str:
        file, group, row = self._places[index].tolist()
        return f"{self._files[file].name}/{group}/{row}"

    def _group(self, file: int, group: int):
        with self._lock:
            if (file, group) in self._groups:
                self._groups.move_to_end((file, group))
                return self._groups[file, group]
        pq = needed("pyarrow.parquet", "a data set of parquet files")
        columns = [self._image, *self._columns.values(), *filter(None, [self._key])]
        with _opened(pq, self._files[file]) as opened:
            table = opened.read_row_group(group, columns=columns)
        with self._lock:
            self._groups[file, group] = table
            while len(self._groups) > _GROUPS_KEPT:
                self._groups.popitem(last=False)
        return table

    def __getitem__(self, index: int) -> Record:
        file, group, row = self._places[index].tolist()
        name = self._name(index)
        try:
            table = self._group(file, group)
        except (OSError, DataError) as error:
            raise BrokenRecord(name, error) from error
        image = table[self._image][row].as_py()
        image = image.get("bytes") if isinstance(image, dict) else image
        if not isinstance(image, bytes):
            raise BrokenRecord(name, "its image column is empty")
        record = Record(id=name, image=image)
        if (column := self._columns.get("captions")) is not None:
            caption = table[column][row].as_py()
            captions = caption if isinstance(caption, list) else [caption]
            record["captions"] = [str(c) for c in captions if c is not None]
        if (column := self._columns.get("label")) is not None:
            label = table[column][row].as_py()
            if not isinstance(label, int):
                raise BrokenRecord(name, f"its label is {label!r}, which is no whole number")
            record["label"] = label
        return record


def _opened(pq, path: Path):
    """Open the file for a ``with`` block.  Raises DataError if it is no parquet file."""
    import pyarrow as pa  # which is there if ``pq`` is

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} cannot be read as parquet ({str(error).splitlines()[0]})") from error
