"""A look at a folder of somebody's own pictures: how many, how large, and what describes them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import BrokenRecord, DataError
from .account import Account
from .caption_table import captions_of_rows, read_captions
from .captions import is_missing
from .records import existing
from .sources.folder import captions_beside
from .sources.image_files import ImageFiles, image_files
from .tables import ENDINGS

_SIZES, _TEXTS = 60, 200  # pictures whose size, and whose caption, is looked at
_SHOWN = 4  # captions to draw during training
_CAPTIONED = 0.5  # the share of pictures with captions from which on a model reads text


@dataclass(frozen=True, kw_only=True)
class OwnFolder:
    """The contents of a folder of pictures.

    count: pictures for training, with those that ``validation_fraction`` may hold out.  side: pixels, the median of
    their shorter sides.  has_splits: whether the folder has a validation split.  condition: ``"text"``, ``"class"`` or
    ``"none"``.  captions: the table of captions, relative to the folder; "" for text files beside the pictures.
    num_classes: class folders.  prompts: a few different captions.
    """

    count: int
    side: int
    has_splits: bool = False
    condition: str = "none"
    captions: str = ""
    num_classes: int = 0
    prompts: tuple[str, ...] = ()


def look_at(root: str | Path) -> OwnFolder:
    """Return what the folder ``root`` holds, as ``data.sources.folder`` reads it.  Pictures are not decoded.

    Captions win over class folders: a table in the folder that names its pictures, then a text beside each of half of
    the pictures.  Every picture in one of several folders makes these the classes.
    Raises FileNotFoundError for no folder, DataError for one without a picture or with unclear splits.
    """
    root = existing(Path(root), "a folder of pictures")
    account = Account()
    files = image_files(root, "train", account=account)
    if not files.names:
        left_out = "; ".join(f"left out: {reason}: {', '.join(names)}" for reason, _, names in account)
        raise DataError(f"{root} holds no picture to train on{f' ({left_out})' if left_out else ''}")
    names, about = files.names, {"side": _side(files), "has_splits": files.has_splits}
    table, given = _table(root, files)
    if table:
        texts = [caption for caption in map(given.get, _some(sorted(given), _TEXTS)) if caption]
        return OwnFolder(
            count=len(given), condition="text", captions=table, prompts=_different(t for t in texts), **about
        )
    beside = [_beside(files.root / name, name) for name in _some(names, _TEXTS)]
    if sum(map(bool, beside)) >= _CAPTIONED * len(beside):
        return OwnFolder(count=len(names), condition="text", prompts=_different(b for b in beside if b), **about)
    folders = {files.class_of(name) for name in names}
    if None not in folders and len(folders) > 1:
        return OwnFolder(count=len(names), condition="class", num_classes=len(folders), **about)
    return OwnFolder(count=len(names), **about)


def _some(names: list[str], most: int) -> list[str]:
    places = np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).astype(int))
    return [names[place] for place in places.tolist()]


def _side(files: ImageFiles) -> int:
    """Return the median of the shorter sides in pixels; 64 if no picture tells its size."""
    sides = []
    for name in _some(files.names, _SIZES):
        try:
            with Image.open(files.root / name) as picture:  # reads the header alone
                sides.append(min(picture.size))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue  # --mode=inspect names it
    return int(np.median(sides)) if sides else 64


def _table(root: Path, files: ImageFiles) -> tuple[str, Mapping[str, str]]:
    """Return the first table that names pictures, and the first caption of each; "" and nothing if there is none."""
    for folder in dict.fromkeys((files.root, root)):
        for entry in sorted(os.listdir(folder)):
            if not entry.lower().endswith(ENDINGS):
                continue
            try:
                rows = read_captions(folder / entry, "", "")
            except (DataError, OSError):
                continue  # a table of something else
            prefix = "" if folder == files.root else f"{files.root.relative_to(folder).as_posix()}/"
            found = {}
            for name in files.names:
                if values := [value for value in rows.get(prefix + name, ()) if not is_missing(value)]:
                    found[name] = _first(values, name)
            if found:
                return entry, found
    return "", {}


def _first(values: list, name: str) -> str:
    try:
        return next(iter(captions_of_rows(values, name)), "")
    except BrokenRecord:
        return ""


def _beside(path: Path, name: str) -> str:
    try:
        return next(iter(captions_beside(path, name)), "")
    except BrokenRecord:
        return ""


def _different(texts) -> tuple[str, ...]:
    return tuple(list(dict.fromkeys(texts))[:_SHOWN])
