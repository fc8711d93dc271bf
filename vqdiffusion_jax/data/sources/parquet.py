"""Parquet files that hold images, as img2dataset or a Hugging Face data set writes them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import BrokenRecord, DataError, one_line, shown
from ...user_files import parse_json
from ..account import Account
from ..caption_table import CAPTION_COLUMNS, captions_of_rows, note_of_others
from ..captions import field_of
from ..extras import needed
from ..records import Record, record_id
from ..splits import KEPT_WHOLE, divide, splits_in, unclear
from .shards import check_regular, shard_files

_IMAGES = ("jpg", "png", "webp", "image", "jpeg", "img", "picture")
_SPLITS = ("split", "subset", "partition", "set")
_GROUPS_KEPT = 4  # row groups held in memory a process; img2dataset's have about 100 rows
_MOST_ROWS = 8  # a byte of a file; missing values take next to nothing
# Pictures hardly pack: a row group that unpacks to more than both is made to fill memory.
_MOST_BYTES, _MOST_RATIO = 2**27, 20


class Parquet:
    """The rows of the parquet files in ``root``, or below it, that hold an image.

    Reading a row reads its whole row group.  Names of files (``train-00000-of-00001.parquet``), of their folders, or
    the values of a column ``split`` tell the splits.  Column names are found in capital and small letters.

    Args:
      image_column: bytes, or a struct with a field ``bytes``; by default the first of jpg, png, webp, image and the
        like.
      caption_column: a text or a list of texts; by default the first usual one, caption, captions, text and so on
        (``caption_table``), and without such a column there are no captions.  ``"caption.en"`` leads into a table.
      label_column: a whole number; a missing column gives no labels.
      split_column: the column whose values tell splits; by default ``split``, ``subset`` or the like, if there is one.
      splits: how names tell splits, see ``data.splits.divide``: ``""``, ``"none"`` or a dict of patterns; of files, or
        with ``split_column`` of its values.
      links_out: also read what links to folders in ``root`` lead to outside of it.
    """

    def __init__(
        self,
        root: Path,
        split: str,
        *,
        image_column: str = "",
        caption_column: str = "",
        label_column: str = "label",
        split_column: str = "",
        splits: str | Mapping[str, str] = "",
        links_out: bool = False,
    ):
        pq = needed("pyarrow.parquet", "a data set of parquet files")
        self.account = Account()
        of_files = KEPT_WHOLE if split_column and splits else splits
        shards = shard_files(root, split, ".parquet", account=self.account, splits=of_files, links_out=links_out)
        self._files = [root / name for name in shards.names]
        self._shown = [name or root.name for name in shards.names]
        self._image, self._columns, self._key = "", {}, None
        self._caption_path = ""  # what follows the column in a path
        self.num_classes, self.classes = None, ()
        places, values, first, told_by = [], [], "", None
        for number, path in enumerate(self._files):
            try:
                with _opened(pq, path) as file:
                    names = file.schema_arrow.names
                    of_file = self._choose_columns(path, names, image_column, caption_column, label_column)
                    if not first:
                        first, (self._image, self._columns, self._key) = path.name, of_file
                        self.num_classes, self.classes = _classes(file, self._columns.get("label"))
                        told_by = split_column or (None if splits else _first(names, _SPLITS))
                    elif of_file[0] != self._image or not set(self._columns.values()) <= set(names):
                        raise _OtherColumns(f"{path} has other columns than {first}; all files must have the same")
                    rows, of_rows = self._rows(file, number, names, told_by)
            except _OtherColumns as error:
                raise DataError(str(error)) from error
            except Exception as error:  # a damaged file makes pyarrow raise errors of many classes
                self.account.broke(self._shown[number], one_line(error))
                continue
            places += rows
            values += of_rows
        self._places = np.concatenate(places).astype(np.int32) if places else np.zeros((0, 3), np.int32)
        self.has_splits = shards.has_splits
        if told_by and values:
            self._keep_split(np.concatenate(values), split, f"{root}, its column {told_by}", splits)
        self._forget()

    def _choose_columns(self, path: Path, names: list[str], image: str, caption: str, label: str):
        """Return the columns of images, of captions and labels, and of keys."""
        image_column = image or _first(names, _IMAGES)
        if image_column not in names:
            wanted = f"no column {image}" if image else f"none of the columns {', '.join(_IMAGES)}"
            raise _OtherColumns(f"{path} has {wanted}; it has {', '.join(names)}; name one with options.image_column")
        within = caption if caption in names else caption.partition(".")[0]  # the column that a path begins with
        if caption and _first(names, (within,)) is None:
            raise _OtherColumns(f"{path} has no column {caption}; it has {', '.join(names)}")
        self._caption_path = caption[len(within) :]
        caption_column = _first(names, (within,) if caption else CAPTION_COLUMNS)
        columns = {"captions": caption_column, "label": _first(names, (label,))}
        if doubled := [name for name in (image_column, *columns.values()) if name and names.count(name) > 1]:
            raise _OtherColumns(f"{path} has the column {doubled[0]} more than once; rename one of them")
        if not caption_column:
            self.account.note(f"there is no column of captions; columns are {', '.join(names)}")
        elif caption_column != "caption":
            self.account.note(f"captions are the column {caption_column}")
        if caption_column and not caption and (unread := note_of_others(names, caption_column)):
            self.account.note(unread)
        return image_column, {role: c for role, c in columns.items() if c}, "key" if "key" in names else None

    def _rows(
        self, file, number: int, names: list[str], column: str | None
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return (file, row group, row) of the rows to read, and the values of the column of splits, if any."""
        places, values = [], []
        if column and column not in names:
            raise _OtherColumns(f"{self._files[number]} has no column {column}; it has {', '.join(names)}")
        for group in range(file.num_row_groups):
            rows = np.arange(file.metadata.row_group(group).num_rows)
            chosen = [name for name in ("status" if "status" in names else None, column) if name]
            table = file.read_row_group(group, columns=chosen) if chosen else None
            keep = np.ones(len(rows), bool)
            if table is not None and "status" in names:  # img2dataset keeps a row for what it could not download
                keep = np.array(table["status"].to_pylist()) == "success"
                if missing := int((~keep).sum()):
                    self.account.left_out("a row whose status is not success", self._shown[number], missing)
            if table is not None and column:
                values.append(np.array(["" if v is None else str(v) for v in table[column].to_pylist()], object)[keep])
            rows = rows[keep]
            places.append(np.stack([np.full_like(rows, number), np.full_like(rows, group), rows], 1))
        return places, values

    def _keep_split(self, values: np.ndarray, split: str, where: str, splits: str | Mapping[str, str]) -> None:
        """Keep the rows whose column of splits names ``split``."""
        known, counts = np.unique(values.astype(str), return_counts=True)
        names = known.tolist()
        if not splits and len(names) > 1 and not any(map(splits_in, names)):
            if where.lower().endswith("column split"):
                raise unclear(where, names)
            return  # a column of another meaning
        told = Account()
        division = divide(names, split, where=where, splits=splits, account=told)
        for note in told.notes:
            self.account.note(note)
        rows = dict(zip(names, counts.tolist(), strict=True))
        for reason, _, _ in told:
            for name in told.names(reason):
                self.account.left_out(reason, f"rows of {name!r}", rows.get(name, rows.get("", 1)))
        self._places = self._places[np.isin(values.astype(str), list(division.kept))]
        self.has_splits = self.has_splits or division.has_splits

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
        return f"{self._shown[file]}/{group}/{row}"

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
            raise BrokenRecord(name, _no_picture(self._image, table[self._image][row].as_py()))
        record = Record(id=record_id(name), image=image)
        if (column := self._columns.get("captions")) is not None:
            value = {column: table[column][row].as_py()}
            record["captions"] = captions_of_rows([field_of(value, column + self._caption_path)], name)
        if (column := self._columns.get("label")) is not None:
            label = table[column][row].as_py()
            if isinstance(label, float) and label.is_integer():  # pandas makes floats of a column with a missing value
                label = int(label)
            if not isinstance(label, int):
                raise BrokenRecord(name, f"its label is {label!r}, which is no whole number")
            record["label"] = label
        return record


def _no_picture(column: str, value: Any) -> str:
    """Return what is wrong with a value that holds no bytes of a picture."""
    path = value.get("path") if isinstance(value, Mapping) else value
    if path is None:
        return f"its column {column} is empty"
    held = f"the path {shown(path)} alone" if isinstance(path, str) else f"a {type(value).__name__}"
    return f"its column {column} holds {held}; it must hold the bytes of a picture file"


class _OtherColumns(Exception):
    """A parquet file that can be read but lacks what is needed."""


def _first(names: list[str], wanted: Sequence[str]) -> str | None:
    """Return the first wanted column that there is: by its own name, else in other capital and small letters."""
    by_lower = {name.lower(): name for name in reversed(names)}
    exact = next((name for name in wanted if name in names), None)
    return exact or next((by_lower[name.lower()] for name in wanted if name.lower() in by_lower), None)


def _classes(file, column: str | None) -> tuple[int | None, tuple[str, ...]]:
    """Return the number and the names of the classes that a Hugging Face data set states for its label column."""
    try:
        stated = parse_json((file.schema_arrow.metadata or {})[b"huggingface"].decode(), "its metadata")
        names = stated["info"]["features"][column]["names"]
        return len(names), tuple(map(str, names))
    except (KeyError, TypeError, ValueError):
        return None, ()


def _opened(pq, path: Path):
    """Open the file for a ``with`` block.

    Raises DataError if it is no parquet file, or promises far more rows or bytes than it has.
    """
    import pyarrow as pa  # which is there if ``pq`` is

    try:
        check_regular(path)
        file, size = pq.ParquetFile(path), path.stat().st_size
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"it cannot be read as parquet ({one_line(error)})") from error
    groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
    rows, largest = sum(group.num_rows for group in groups), max((group.total_byte_size for group in groups), default=0)
    if rows > _MOST_ROWS * size or min((group.num_rows for group in groups), default=0) < 0:
        raise DataError(f"it promises {rows:,} rows and has {size:,} bytes; write it anew")
    if largest > max(_MOST_BYTES, _MOST_RATIO * size):
        raise DataError(f"a row group of it unpacks to {largest:,} bytes, and it has {size:,}; write it anew")
    return file
