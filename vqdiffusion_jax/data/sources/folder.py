"""A folder of images, with or without captions and labels.

Captions come from one file (JSONL or CSV) or from a .txt beside each image, labels from class folders.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path

from ...errors import BrokenRecord, DataError
from ..records import Record, existing, read_bytes
from .image_files import image_files, split_folder


class Folder:
    """Images below ``root``, or below its train and validation folders if it has both.

    Args:
      captions: a .jsonl or .csv file, relative to the split's folder.  Each line holds a caption and names its image,
        relative to that folder; several lines may name one image.  Without the file, ``NAME.txt`` beside an image holds
        its captions, one a line.
      image_field, caption_field: columns of that file; ``caption_field`` may hold a list.
      labels: ``"folders"`` for class folders: the classes of both splits are the sorted names of the first folder level
        of the training images.
    """

    def __init__(
        self,
        root: Path,
        split: str,
        *,
        captions: str = "",
        image_field: str = "image",
        caption_field: str = "caption",
        labels: str = "",
    ):
        self.root, self.has_splits = split_folder(root, split)
        if labels not in ("", "folders"):
            raise DataError(f"folder: labels is {labels!r}; allowed: '' (none) or 'folders'")

        def captions_in(folder: Path) -> dict[str, list[str]]:
            return read_captions(existing(folder / captions, "a captions file"), image_field, caption_field)

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
        record = Record(id=name, image=read_bytes(self.root / name, name))
        if self._captions is not None:
            record["captions"] = self._captions[name]
        elif (beside := (self.root / name).with_suffix(".txt")).exists():
            record["captions"] = read_lines(beside, name)
        if self._classes is not None:
            folder = name.split("/")[0]
            if folder not in self._classes:
                raise BrokenRecord(name, "it lies in no class folder")
            record["label"] = self._classes[folder]
        return record


def class_folders(names: Iterable[str]) -> set[str]:
    """Return the first folder of each relative image path that has one."""
    return {name.split("/")[0] for name in names if "/" in name}


def read_lines(path: Path, name: str) -> list[str]:
    """Return the lines of a caption file.  Raises BrokenRecord(name) if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BrokenRecord(name, f"{path.name}: {error}") from error


def read_captions(path: Path, image_field: str, caption_field: str) -> dict[str, list[str]]:
    """Return a dict from image name to captions, in the file's order.  Raises DataError, naming file and line."""
    captions: dict[str, list[str]] = {}
    for line, row in read_rows(path):
        for name in (image_field, caption_field):
            if row.get(name) is None:
                raise DataError(
                    f"{path}, line {line} has no field {name!r}; it has {', '.join(map(str, row)) or 'nothing'}"
                )
        given = row[caption_field]
        captions.setdefault(str(row[image_field]), []).extend(
            map(str, given) if isinstance(given, list) else [str(given)]
        )
    return captions


def read_rows(path: Path):
    """Yield (line number, dict) for every row of a .jsonl or .csv file.  Raises DataError, naming file and line."""
    if path.suffix not in (".jsonl", ".csv"):
        raise DataError(f"{path} is neither .jsonl nor .csv; a captions file has one of these endings")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            if path.suffix == ".csv":
                reader = csv.DictReader(file)
                yield from ((reader.line_num, row) for row in reader)
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise DataError(f"{path}, line {number} is not a JSON table")
                    yield number, row
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {number} is not valid JSON ({error})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
