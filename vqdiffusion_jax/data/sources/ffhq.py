"""FFHQ, or any other folder of images without captions and labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..account import Account
from ..records import Record, read_bytes, record_id
from .image_files import image_files


class Ffhq:
    """Every image below ``root``, or below the folders of a split where their names tell splits.

    FFHQ keeps a thousand images a folder.

    Args:
      splits: how names tell splits, see ``data.splits.divide``: ``""``, ``"none"`` or a dict of patterns.
      links_out: also read what links in ``root`` lead to outside of it.
    """

    def __init__(self, root: Path, split: str, *, splits: str | Mapping[str, str] = "", links_out: bool = False):
        self.account = Account()
        files = image_files(root, split, account=self.account, splits=splits, links_out=links_out)
        self.root, self._names, self.has_splits = files.root, files.names, files.has_splits

    def __len__(self) -> int:
        return len(self._names)

    def group(self, index: int) -> str:
        return self._names[index]

    def __getitem__(self, index: int) -> Record:
        name = self._names[index]
        return Record(id=record_id(name), image=read_bytes(self.root / name, name))
