"""Small pictures in one array of an .npz file, with a captions.jsonl of one line a picture."""

from __future__ import annotations

import math
import re
from pathlib import Path
from string import Formatter
from typing import Any

import numpy as np

from ...errors import DataError
from ...pictures import on_white  # noqa: F401  (its former place)
from ...user_arrays import read_npz
from ..caption_table import captions_of_rows
from ..captions import captions_in, is_missing
from ..records import Record, record_id
from ..tables import read_rows


class Npz:
    """The array ``images`` (n, height, width, 3) uint8 of ``root``, a file or a folder with one .npz.

    A fourth channel is alpha; such pictures are shown on the configuration's background.

    Args:
      captions: a table beside the array (``tables.read_rows``), with one row a picture; ``""`` for none.
      caption_template: a caption in terms of a row's fields, for instance ``"{caption}, {style_word}"``.  A row where
        one of these fields is missing has no caption; a template of one field alone may name a list of captions.
      label_field: the field whose sorted values are the classes.
      group_field: records of equal values in this field are held out together, for instance two drawings of one thing.
    """

    has_splits = False

    def __init__(
        self,
        root: Path,
        split: str,
        *,
        captions: str = "captions.jsonl",
        caption_template: str = "{caption}",
        label_field: str = "",
        group_field: str = "",
    ):
        self._path = root if root.is_file() else _only(root)
        self._images = self._load()
        rows = []
        if captions:
            file = self._path.parent / captions
            if not file.exists():
                raise FileNotFoundError(f"{file} does not exist; expected one line a picture, or set captions to ''")
            rows = [row for _, row in read_rows(file)]
            if len(rows) != len(self._images):
                raise DataError(
                    f"{file} has {len(rows)} lines but {self._path} has {len(self._images)} images;"
                    " it must have one a picture"
                )
        elif label_field or group_field:
            raise DataError("npz: label_field and group_field are fields of the captions file, but captions is ''")
        try:
            known = {field for row in rows for field in row}
            self._captions = [_caption(caption_template, row, known) for row in rows]
            names = [row[label_field] for row in rows] if label_field else []
            self._groups = [str(row[group_field]) for row in rows] if group_field else None
        except (KeyError, ValueError, IndexError) as error:
            raise DataError(
                f"{self._path.parent / captions} has no field {error}; it has {', '.join(rows[0])}"
            ) from error
        try:
            self._classes = {name: i for i, name in enumerate(sorted(set(names)))}
        except TypeError as error:  # a list, or texts among numbers
            raise DataError(
                f"{self._path.parent / captions}: the field {label_field!r} holds values of several kinds, or lists;"
                " classes are all texts or all numbers"
            ) from error
        self._labels = [self._classes[name] for name in names]

    def _load(self) -> np.ndarray:
        try:
            images = read_npz(self._path, ("images",))["images"]
        except (KeyError, ValueError, OSError) as error:
            raise DataError(f"{self._path} holds no array 'images' that can be read ({error})") from error
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (3, 4):
            raise DataError(
                f"{self._path}: images is {images.dtype} {images.shape};"
                " it must be uint8 (n, height, width, 3) or (.., 4)"
            )
        return images

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_images": None}  # worker processes read the file, which is cheaper than sending it

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._images = self._load()

    @property
    def num_classes(self) -> int | None:
        return len(self._classes) or None

    def __len__(self) -> int:
        return len(self._images)

    def group(self, index: int) -> str:
        return self._groups[index] if self._groups else str(index)

    def lacks_caption(self, index: int) -> bool:
        return not self._captions or is_missing(self._captions[index])

    def __getitem__(self, index: int) -> Record:
        record = Record(id=record_id(f"{self._path.name}[{index}]"), image=self._images[index])
        if self._captions:
            record["captions"] = captions_of_rows([self._captions[index]], record["id"])
        if self._labels:
            record["label"] = self._labels[index]
        return record


def _caption(template: str, row: dict[str, Any], known: set[str]) -> Any:
    """Return a row's captions, several if a field of the template has a list of them; None if a field is missing.

    known: the fields of any row.  Raises KeyError for a field of the template that is not among them.
    """
    fields = {re.split(r"[.[]", field)[0] for _, field, _, _ in Formatter().parse(template) if field}
    if unknown := fields - known:
        raise KeyError(min(unknown))
    if template == "{" + "".join(fields) + "}":
        return row.get("".join(fields))
    texts = [dict(row)]
    for field in fields:
        value = row.get(field)
        if isinstance(value, int | float) and not math.isnan(value):
            continue  # a number in a sentence
        try:
            captions = captions_in(value, table=True)
        except ValueError:
            return value  # which is refused when the record is read
        texts = [text | {field: caption} for text in texts for caption in captions]
    return [template.format_map(text) for text in texts]


def _only(folder: Path) -> Path:
    files = sorted(folder.glob("*.npz"))
    if len(files) != 1:
        raise DataError(f"{folder} has {len(files)} .npz files; name one as root")
    return files[0]
