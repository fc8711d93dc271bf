"""CUB-200 in the layout of text-to-image work: pickled lists of names, ten captions an image."""

from __future__ import annotations

from pathlib import Path

from ..listing import check_names
from ..records import Record, existing, read_bytes, record_id
from .folder import read_lines
from .string_list_pickle import read_string_list

PHASES = {"train": "train", "validation": "test"}


class Cub200:
    """The images ``images/NAME.jpg``, for each NAME in the list ``{train,test}/filenames.pickle``.

    Their captions are in ``text/text/NAME.txt`` or ``text/NAME.txt``, one a line.
    """

    def __init__(self, root: Path, split: str):
        self.root = root
        listed = existing(root / PHASES[split] / "filenames.pickle", "CUB-200's list of names")
        self._names = read_string_list(listed)
        check_names(self._names, listed)
        existing(root / "images", "CUB-200's images")
        nested = root / "text" / "text"
        self._texts = (
            nested if nested.is_dir() else existing(root / "text", f"CUB-200's captions, in {nested} or directly in it")
        )

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Record:
        name = self._names[index]
        image = read_bytes(self.root / "images" / f"{name}.jpg", name)
        texts = self._texts / f"{name}.txt"
        return Record(id=record_id(name), image=image, captions=read_lines(texts, name) if texts.exists() else [])
