"""Data sets by name: one small file each."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

from ..config import SOURCES, SPLITS, DataConfig
from ..records import DataError, HoldOut, Source, existing


def open_source(config: DataConfig, split: str) -> Source:
    """The data set that ``config`` names, or its part for ``split``.

    Raises DataError for an unknown option or split, a data set that cannot be divided, or one that is empty;
    FileNotFoundError if a path is not there.
    """
    if split not in SPLITS:
        raise DataError(f"split is {split!r}; allowed: {', '.join(SPLITS)}")
    if not config.source:
        raise DataError("no data set is named; set source and root")
    module, name = SOURCES[config.source].split(":")
    cls = getattr(importlib.import_module(f".{module}", __package__), name)
    known = [p.name for p in inspect.signature(cls).parameters.values() if p.kind is p.KEYWORD_ONLY]
    if unknown := sorted(set(config.options) - set(known)):
        raise DataError(f"{config.source} has no option {', '.join(unknown)}; known: {', '.join(known) or 'none'}")
    # tfds keeps its data below the root and makes the folder itself; the others read what is there.
    root = Path(config.root) if config.source == "tfds" else existing(Path(config.root), f"the data set {config.source!r}")
    source = cls(root, split, **config.options)
    divides = getattr(source, "has_splits", True)
    if divides and config.validation_fraction:
        raise DataError(f"{config.source} at {root} has splits of its own; set validation_fraction to 0")
    if not divides and not config.validation_fraction and split == "validation":
        raise DataError(f"{config.source} at {root} has no validation part; set validation_fraction to hold some of it out")
    if not divides and config.validation_fraction:
        source = HoldOut(source, split, config.validation_fraction)
    if not len(source):
        raise DataError(f"{config.source} at {root} has no example for {split}; check root, options and validation_fraction")
    return source
