"""FFHQ, or any other folder of images without captions and labels."""

from __future__ import annotations

from pathlib import Path

from ..records import Record, read_bytes
from .image_files import image_files, split_folder


class Ffhq:
    """Every image below ``root``, or below its train and validation folders if it has both.

    FFHQ keeps a thousand images a folder.
    """

    def __init__(self, root: Path, split: str):
        self.root, self.has_splits = split_folder(root, split)
        self._names = image_files(self.root)

    def __len__(self) -> int:
        return len(self._names)

    def group(self, index: int) -> str:
        return self._names[index]

    def __getitem__(self, index: int) -> Record:
        name = self._names[index]
        return Record(id=name, image=read_bytes(self.root / name, name))
