"""A folder of images, with or without captions and labels.

Captions come from one file (JSONL or CSV) or from a .txt beside each image, labels from class folders.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import BrokenRecord, DataError, printable, shown
from ..account import Account
from ..caption_table import IMAGE_COLUMNS, captions_of_rows, read_captions, relative_path
from ..captions import captions_of_bytes, is_missing
from ..listing import CAPTION_ENDINGS, check_inside
from ..records import Record, existing, read_bytes, record_id
from ..splits import divide
from ..tables import column_of, read_rows
from .class_folders import note_one_class, numbered
from .image_files import image_files


class Folder:
    """Images below ``root``, or below the folders of a split where their names tell splits.

    Args:
      captions: a table (``tables.read_rows``), relative to the split's folder or to ``root``.  Each row holds a caption
        and names its image, relative to the table's folder; several rows may name one image, and a column ``split``
        tells the splits of images.  Without the table, ``NAME.txt`` or ``NAME.caption`` beside an image holds its
        captions, one a line.
      image_field, caption_field: columns of that table, by default the first usual ones (``caption_table``);
        ``caption_field`` may hold a list, and ``"caption.en"`` is a field of a table in it.
      labels: ``"folders"`` for class folders: the classes of both splits are the first folder levels of the training
        images, sorted by number where they are numbered, else by name.
      splits: how names tell splits, see ``data.splits.divide``: ``""``, ``"none"`` or a dict of patterns.
      links_out: also read what links in ``root`` lead to outside of it.
    """

    def __init__(
        self,
        root: Path,
        split: str,
        *,
        captions: str = "",
        image_field: str = "",
        caption_field: str = "",
        labels: str = "",
        splits: str | Mapping[str, str] = "",
        links_out: bool = False,
    ):
        if labels not in ("", "folders"):
            raise DataError(f"folder: labels is {labels!r}; allowed: '' (none) or 'folders'")
        self.account = Account()

        files = image_files(
            root, split, account=self.account, splits=splits, links_out=links_out, companions={captions} - {""}
        )
        self.root, self._names, self.has_splits = files.root, files.names, files.has_splits
        self._captions: dict[str, list[Any]] | None = None
        prefix = ""
        if captions:
            # A file in the data set's folder serves all splits, and its names begin with the split's folder.
            for_all = not (files.root / captions).exists() and (root / captions).exists()
            self.root = root if for_all else files.root
            prefix = f"{files.root.relative_to(root).as_posix()}/" if self.root != files.root else ""
            table = existing(self.root / captions, "a captions file")
            given = read_captions(table, image_field, caption_field, self.account)
            there = {prefix + name for name in files.names}
            for name in sorted(there.difference(given)):
                self.account.left_out(f"not named in {captions}", name)
            for name in given:
                if name not in there:
                    check_inside(self.root, name, links_out)
            # A picture that is missing is a broken record, unless it is another split's.
            self._names = [name for name in given if name in there or not (for_all and self.has_splits)]
            if not splits and not self.has_splits:
                self._keep_split(table, image_field, split)
            self._captions = {name: given[name] for name in self._names}
        self._classes: dict[str, int] | None = None
        if labels:
            folders = [files.class_of(name.removeprefix(prefix)) for name in self._names]
            own = {folder for folder in folders if folder is not None}
            if split == "train" or not self.has_splits:
                self._classes = numbered(own, self.account)
                if len(own) == 1:
                    note_one_class((name.removeprefix(prefix) for name in self._names), self.account)
            else:
                # A validation folder may lack a class.  Its own numbering would give later classes other labels.
                train = Folder(
                    root,
                    "train",
                    captions=captions,
                    image_field=image_field,
                    caption_field=caption_field,
                    labels=labels,
                    splits=splits,
                    links_out=links_out,
                )
                self._classes = {name: label for label, name in enumerate(train.classes)}
                if unknown := sorted(own - self._classes.keys()):
                    raise DataError(
                        f"{self.root}: {unknown[0]} is no class folder of {train.root}; rename or remove it,"
                        " or add it there"
                    )
            self._labels = np.array([-1 if f is None else self._classes[f] for f in folders], np.int32)

    def _keep_split(self, table: Path, image_field: str, split: str) -> None:
        """Keep the images of ``split`` if the captions file has a column of splits."""
        values = splits_of_rows(table, image_field)
        if not values:
            return
        told = {name: values.get(name, "") for name in self._names}
        of_values = Account()
        division = divide(told.values(), split, where=f"{table}, its column split", account=of_values)
        for note in of_values.notes:
            self.account.note(note)
        reasons = {value: reason for reason, _, _ in of_values for value in of_values.names(reason)}
        for name, value in told.items():
            if (reason := reasons.get(printable(value or "."))) is not None:
                self.account.left_out(reason, name)
        self.has_splits = division.has_splits
        self._names = [name for name in self._names if told[name] in division.kept]

    @property
    def num_classes(self) -> int | None:
        return None if self._classes is None else len(self._classes)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, by label."""
        return tuple(self._classes or ())

    def __len__(self) -> int:
        return len(self._names)

    def group(self, index: int) -> str:
        return self._names[index]

    def lacks_caption(self, index: int) -> bool:
        return self._captions is not None and all(map(is_missing, self._captions[self._names[index]]))

    def __getitem__(self, index: int) -> Record:
        name = self._names[index]
        record = Record(id=record_id(name), image=read_bytes(self.root / name, name))
        if self._captions is not None:
            record["captions"] = captions_of_rows(self._captions[name], name)
        else:
            record["captions"] = captions_beside(self.root / name, name)
        if self._classes is not None:
            label = int(self._labels[index])
            if label < 0:
                raise BrokenRecord(name, "it lies in no class folder")
            record["label"] = label
        return record


def splits_of_rows(table: Path, image_field: str) -> dict[str, str]:
    """Return the value of the column ``split`` for each image that a table names; nothing without such a column.

    Raises DataError for an image of which two rows name different splits.
    """
    values: dict[str, str] = {}
    for line, row in read_rows(table):
        column = column_of(row, "split")
        if column is None and not values:
            return {}
        image = row.get(column_of(row, image_field, IMAGE_COLUMNS) or "")
        if column is not None and isinstance(image, str):
            name = relative_path(image.strip(), table.parent)
            value = "" if is_missing(row[column]) else str(row[column])
            values[name] = values.get(name) or value  # the split may stand in one row of a picture alone
            if value and values[name] != value:
                raise DataError(
                    f"{table}, line {line} has {shown(name)} in the split {shown(value)}, an earlier line in"
                    f" {shown(values[name])}; a picture belongs to one split"
                )
    return values


def captions_beside(picture: Path, name: str) -> list[str]:
    """Return the captions of the text file beside a picture, perhaps none.  Raises BrokenRecord(name)."""
    for ending in CAPTION_ENDINGS:
        if (file := picture.with_suffix(ending)).exists() and (captions := read_lines(file, name)):
            return captions
    return []


def read_lines(path: Path, name: str) -> list[str]:
    """Return the captions of a text file, one a line.  Raises BrokenRecord(name) if it cannot be read."""
    return captions_of_bytes(read_bytes(path, name), path.name, name, lines=True)
