"""Data sets by name, one small file each, or by the name of a class that lies elsewhere."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

from ...errors import DataError, one_line
from ..config import SOURCES, SPLITS, DataConfig
from ..records import HoldOut, Source, existing


def open_source(config: DataConfig, split: str) -> Source:
    """The data set that ``config`` names, or its part for ``split``.

    Raises DataError for a class that cannot be imported or is no ``Source``, an unknown option or split, a data set that cannot be
    divided, or one that is empty; FileNotFoundError if a path is not there.
    """
    if split not in SPLITS:
        raise DataError(f"split is {split!r}; allowed: {', '.join(SPLITS)}")
    if not config.source:
        raise DataError("no data set is named; set source and root")
    cls = _class_of(config.source)
    known = [p.name for p in inspect.signature(cls).parameters.values() if p.kind is p.KEYWORD_ONLY]
    if unknown := sorted(set(config.options) - set(known)):
        raise DataError(f"{config.source} has no option {', '.join(unknown)}; known: {', '.join(known) or 'none'}")
    # tfds keeps its data below the root and makes the folder itself; the others read what is there.
    root = (
        Path(config.root) if config.source == "tfds" else existing(Path(config.root), f"the data set {config.source!r}")
    )
    source = cls(root, split, **config.options)
    divides = getattr(source, "has_splits", True)
    if divides and config.validation_fraction:
        raise DataError(f"{config.source} at {root} has splits of its own; set validation_fraction to 0")
    if not divides and not config.validation_fraction and split == "validation":
        raise DataError(
            f"{config.source} at {root} has no validation part; set validation_fraction to hold some of it out"
        )
    if not divides and config.validation_fraction:
        source = HoldOut(source, split, config.validation_fraction)
    if not len(source):
        raise DataError(
            f"{config.source} at {root} has no example for {split}; check root, options and validation_fraction"
        )
    return source


def _class_of(source: str) -> type:
    """The class of SOURCES, or the one that ``package.module:Class`` names."""
    if source in SOURCES:
        module, name = SOURCES[source].split(":")
        return getattr(importlib.import_module(f".{module}", __package__), name)
    module, _, name = source.partition(":")
    try:
        cls = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever a module of somebody's own trips over
        raise DataError(
            f"source is {source!r}, which cannot be imported ({one_line(error)}); give package.module:Class, where Python finds it "
            "(for instance with PYTHONPATH=.)"
        ) from error
    missing = [method for method in ("__len__", "__getitem__") if not hasattr(cls, method)]
    if not isinstance(cls, type) or missing:
        lacks = f"it has no {' and no '.join(missing)}" if missing else "it is no class"
        raise DataError(
            f"source is {source!r}, which is no data set: {lacks}; see Source in vqdiffusion_jax/data/records.py"
        )
    return cls
