"""A folder of images, with or without captions and labels.

Captions come from one file (JSONL or CSV) or from a .txt beside each image, labels from class folders.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...errors import BrokenRecord, DataError
from ..account import Account
from ..caption_table import captions_of_rows, read_captions
from ..captions import captions_of_bytes
from ..records import Record, existing, read_bytes, record_id
from .image_files import image_files, split_folder


class Folder:
    """Images below ``root``, or below its train and validation folders if it has both.

    Args:
      captions: a table (``tables.read_rows``), relative to the split's folder.  Each row holds a caption and names its
        image, relative to that folder; several rows may name one image.  Without the table, ``NAME.txt`` or
        ``NAME.caption`` beside an image holds its captions, one a line.
      image_field, caption_field: columns of that table, by default the first usual ones (``caption_table``);
        ``caption_field`` may hold a list, and ``"caption.en"`` is a field of a table in it.
      labels: ``"folders"`` for class folders: the classes of both splits are the sorted names of the first folder level
        of the training images.
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
    ):
        self.root, self.has_splits = split_folder(root, split)
        if labels not in ("", "folders"):
            raise DataError(f"folder: labels is {labels!r}; allowed: '' (none) or 'folders'")

        self.account = Account()

        def captions_in(folder: Path) -> dict[str, list[Any]]:
            file = existing(folder / captions, "a captions file")
            return read_captions(file, image_field, caption_field, self.account)

        self._captions = captions_in(self.root) if captions else None
        self._names = image_files(self.root) if self._captions is None else list(self._captions)
        self._classes = None
        if labels:
            train, own = split_folder(root, "train")[0], class_folders(self._names)
            # A validation folder may lack a class.  Its own numbering would give later classes other labels.
            known = own if train == self.root else class_folders(captions_in(train) if captions else image_files(train))
            if unknown := sorted(own - known):
                raise DataError(
                    f"{self.root}: {unknown[0]} is no class folder of {train}; rename or remove it, or add it there"
                )
            self._classes = {name: i for i, name in enumerate(sorted(known))}

    @property
    def num_classes(self) -> int | None:
        return None if self._classes is None else len(self._classes)

    def __len__(self) -> int:
        return len(self._names)

    def group(self, index: int) -> str:
        return self._names[index]

    def __getitem__(self, index: int) -> Record:
        name = self._names[index]
        record = Record(id=record_id(name), image=read_bytes(self.root / name, name))
        if self._captions is not None:
            record["captions"] = captions_of_rows(self._captions[name], name)
        else:
            record["captions"] = captions_beside(self.root / name, name)
        if self._classes is not None:
            folder = name.split("/")[0]
            if folder not in self._classes:
                raise BrokenRecord(name, "it lies in no class folder")
            record["label"] = self._classes[folder]
        return record


def class_folders(names: Iterable[str]) -> set[str]:
    """Return the first folder of each relative image path that has one."""
    return {name.split("/")[0] for name in names if "/" in name}


def captions_beside(picture: Path, name: str) -> list[str]:
    """Return the captions of the text file beside a picture, perhaps none.  Raises BrokenRecord(name)."""
    for ending in (".txt", ".caption"):
        if (file := picture.with_suffix(ending)).exists() and (captions := read_lines(file, name)):
            return captions
    return []


def read_lines(path: Path, name: str) -> list[str]:
    """Return the captions of a text file, one a line.  Raises BrokenRecord(name) if it cannot be read."""
    return captions_of_bytes(read_bytes(path, name), path.name, name, lines=True)
