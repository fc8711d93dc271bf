"""The image files of one split of a folder."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...pictures import EXTENSIONS
from ..account import Account
from ..listing import check_inside, holds_picture, is_folder, is_foreign, picture_files
from ..splits import Division, divide, splits_in


@dataclass(frozen=True)
class ImageFiles:
    """The images of one split.

    root: the folder that ``names`` are relative to: the split's own folder if it has a single one.
    has_splits: True if there are a training and a validation split.
    """

    root: Path
    names: list[str]
    has_splits: bool
    _depths: Mapping[str, int] = field(default_factory=dict)  # of folders, to the part that names the split

    def class_of(self, name: str) -> str | None:
        """Return the first folder of an image's path that does not name a split, or None if there is none."""
        folder, slash, _ = name.rpartition("/")
        if not slash:
            return None
        depth = self._depths.get(folder, 0)
        if not depth:
            return folder.partition("/")[0]
        parts = folder.split("/")
        del parts[depth - 1]
        return parts[0] if parts else None


def image_files(
    root: Path,
    split: str,
    *,
    account: Account,
    splits: str | Mapping[str, str] = "",
    links_out: bool = False,
    companions: Collection[str] = (),
) -> ImageFiles:
    """Return the images of ``split`` below ``root``.

    Folders whose names mean splits, at any depth, divide the images as ``splits.divide`` says, and so do the images'
    own names if each begins with the name of a split.  Other arguments are those of ``listing.picture_files``.
    Raises DataError if the names leave unclear what is for training.
    """
    division = _of_first_folders(root, split, links_out, account) if not splits else None
    below = [""] if division is None else list(division.kept)
    names = picture_files(root, account, below=below, links_out=links_out, companions=companions)
    if division is None:
        folders = [name.rpartition("/")[0] for name in names]
        division = divide(folders, split, where=root, splits=splits, account=account)
        if not splits and not any(division.kept.values()) and _begin_with_splits(names):
            division = divide(names, split, where=root, account=account)
            return ImageFiles(root, list(division.kept), division.has_splits)
        if len(division.kept) < len(set(folders)):
            names = [name for name, folder in zip(names, folders, strict=True) if folder in division.kept]
    prefixes = {"/".join(folder.split("/")[:depth]) for folder, depth in division.kept.items()}
    if len(prefixes) == 1 and (prefix := prefixes.pop()):
        prefix = _repeated(prefix, names)
        return ImageFiles(root / prefix, [name[len(prefix) + 1 :] for name in names], division.has_splits)
    return ImageFiles(root, names, division.has_splits, _by_folder(names, division))


def _of_first_folders(root: Path, split: str, links_out: bool, account: Account) -> Division | None:
    """Return the division by the folders directly in ``root``, so that only those of the split are read.

    None unless they name a training and another split.
    """
    if not root.is_dir():
        return None
    with os.scandir(root) as scanned:
        entries = list(scanned)
    # Most are files, which are told at once.
    unknown = [entry for entry in entries if not entry.is_file(follow_symlinks=False)]
    folders = {entry.name: entry.is_symlink() for entry in unknown if not is_foreign(entry.name) and is_folder(entry)}
    told = {name: splits_in(name) for name in folders}
    if {"train"} not in told.values() or not any(found and found != {"train"} for found in told.values()):
        return None
    for name, is_link in folders.items():
        if is_link:
            check_inside(root, name, links_out)
    for entry in entries:
        if entry.name.lower().endswith(EXTENSIONS) and entry.name not in folders and not is_foreign(entry.name):
            account.left_out("of no split", entry.name)
    used = [name for name in sorted(folders) if told[name] or holds_picture(root / name)]
    return divide(used, split, where=root, account=account)


def _repeated(prefix: str, names: list[str]) -> str:
    """Return the prefix with the folders that name its split again, as in ``train2014/train2014``."""
    split = splits_in(prefix.rpartition("/")[2])
    while True:
        folders = {name[len(prefix) + 1 :].partition("/")[0] for name in names if "/" in name[len(prefix) + 1 :]}
        inside = f"{prefix}/{folders.pop()}" if len(folders) == 1 else ""
        if not inside or splits_in(inside.rpartition("/")[2]) != split or not split:
            return prefix
        if not all(name.startswith(f"{inside}/") for name in names):
            return prefix
        prefix = inside


def _by_folder(names: list[str], division: Division) -> dict[str, int]:
    """Return the depth of the part that names the split for each folder of images."""
    depths = {}
    for folder in dict.fromkeys(name.rpartition("/")[0] for name in names):
        depth = division.kept.get(folder)
        depths[folder] = division.kept.get(folder.partition("/")[0], 0) if depth is None else depth
    return depths


def _begin_with_splits(names: list[str]) -> bool:
    """Return True if the name of every file begins with the name of a split, and not of the same one."""
    first = ""
    found: set[str] = set()
    for name in names:
        word = name.rpartition("/")[2]
        first = word[: len(word) - len(word.lstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"))]
        means = splits_in(first)
        if len(means) != 1:
            return False
        found |= means
    return len(found) > 1
