"""The shards of one split: the files of a folder that hold many examples each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import DataError
from ...user_files import open_regular
from ..account import Account
from ..listing import folders_below, is_foreign
from ..splits import divide


@dataclass(frozen=True)
class Shards:
    """The relative paths of the shards of one split, sorted.

    has_splits: True if the shards' names tell a training and a validation split.
    """

    names: list[str]
    has_splits: bool


def shard_files(
    root: Path,
    split: str,
    ending: str,
    *,
    account: Account,
    splits: str | Mapping[str, str] = "",
    links_out: bool = False,
) -> Shards:
    """Return the files of ``split`` with an ending, those directly in ``root`` or, where none is, those below it.

    Their names (``train-00000-of-00001.parquet``) and the folders that they lie in tell splits, as ``splits.divide``
    says.  Files with other endings are no matter.  A file may be a link to anywhere, as in the Hugging Face cache, and
    with ``links_out`` a folder too.  Raises DataError if there is none, or if splits are unclear.
    """
    if os.path.isfile(root):
        return Shards([""], has_splits=False)
    direct: list[str] = []
    below: list[str] = []
    packed: list[str] = []
    for folder, entries in folders_below(root, account, links_out=links_out):
        for entry in entries:
            if is_foreign(entry.name):
                continue
            if entry.name.lower().endswith(ending):
                (below if folder else direct).append(folder + entry.name)
            elif f"{ending}." in entry.name.lower() or entry.name.lower().endswith(".tgz"):
                packed.append(folder + entry.name)
    for name in packed:
        account.left_out(f"not a plain {ending} file; unpack it once", name)
    if direct:
        for name in below:
            account.left_out(f"in a folder beside the {ending} files of the data set", name)
    names = sorted(direct or below)
    if not names:
        found = f"; {packed[0]} must be unpacked once" if packed else ""
        raise DataError(f"{root} holds no {ending} file{found}")
    stems = {name[: -len(ending)]: name for name in names}
    division = divide(stems, split, where=root, splits=splits, account=account)
    return Shards([stems[stem] for stem in division.kept], division.has_splits)


def check_regular(path: Path) -> None:
    """Raise OSError unless ``path`` is a regular file that can be opened."""
    open_regular(path).close()
