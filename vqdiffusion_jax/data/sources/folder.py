"""A folder of images, with or without captions and labels.

Captions come from one file (JSONL or CSV) or from a .txt beside each image, labels from class folders.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import BrokenRecord, DataError, printable
from ..account import Account
from ..caption_table import captions_of_rows, read_captions
from ..captions import captions_of_bytes, is_missing
from ..listing import CAPTION_ENDINGS, check_inside
from ..records import Record, existing, read_bytes, record_id
from ..splits import divide
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
            told: dict[str, str] | None = None if splits or self.has_splits else {}
            given = read_captions(table, image_field, caption_field, self.account, told)
            there = {prefix + name for name in files.names}
            for name in sorted(there.difference(given)):
                self.account.left_out(f"not named in {captions}", name)
            for name in given:
                if name not in there:
                    check_inside(self.root, name, links_out)
            # A picture that is missing is a broken record, unless it is another split's.
            self._names = [name for name in given if name in there or not (for_all and self.has_splits)]
            if told:
                self._keep_split(table, told, split)
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

    def _keep_split(self, table: Path, values: Mapping[str, str], split: str) -> None:
        """Keep the images of ``split``, as the values of the table's column of splits tell them."""
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
        picture = self.root / name
        record = Record(id=record_id(name), image=read_bytes(picture, name))
        if self._captions is not None:
            record["captions"] = captions_of_rows(self._captions[name], name)
        else:
            record["captions"] = captions_beside(picture, name)
        if self._classes is not None:
            label = int(self._labels[index])
            if label < 0:
                raise BrokenRecord(name, "it lies in no class folder")
            record["label"] = label
        return record


def captions_beside(picture: Path, name: str) -> list[str]:
    """Return the captions of the text file beside a picture, perhaps none.  Raises BrokenRecord(name)."""
    stem = os.path.splitext(picture)[0]
    for ending in CAPTION_ENDINGS:
        if os.path.exists(file := stem + ending) and (captions := read_lines(file, name)):
            return captions
    return []


def read_lines(path: str | Path, name: str) -> list[str]:
    """Return the captions of a text file, one a line.  Raises BrokenRecord(name) if it cannot be read."""
    return captions_of_bytes(read_bytes(path, name), os.path.basename(path), name, lines=True)
