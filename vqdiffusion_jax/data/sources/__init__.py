"""Data sets, one file each, opened by name or as ``module:Class``."""

from __future__ import annotations

from ...errors import DataError
from ...extensions import check_options, load_class
from ...storage.addresses import on_this_machine
from ...storage.copies import here
from ..account import account_of
from ..config import SOURCES, SPLITS, DataConfig
from ..records import HoldOut, Source, existing, too_many


def open_source(config: DataConfig, split: str) -> Source:
    """Return the records of ``split`` of the data set that ``config`` names.

    Raises DataError for a class that cannot be imported or is no ``Source``, an unknown option or split, a data set
    without the split, or an empty one; FileNotFoundError for a path that does not exist.
    """
    if split not in SPLITS:
        raise DataError(f"split is {split!r}; allowed: {', '.join(SPLITS)}")
    if not config.source:
        raise DataError("no data set is named; set source and root")
    cls = load_class(
        config.source,
        SOURCES,
        __name__,
        where="source",
        kind="data set",
        methods=("__len__", "__getitem__"),
        see="Source in vqdiffusion_jax/data/records.py",
        error=DataError,
    )
    check_options(cls, config.source, config.options, error=DataError)
    # tfds keeps its data below the root and makes the folder itself; the others read what is there.
    if config.source == "tfds":
        root = on_this_machine(config.root, "the folder of a data set of TFDS")
    else:
        root = existing(here(config.root), f"the data set {config.source!r}")
    source = cls(root, split, **config.options)
    account = account_of(source)
    if len(account.broken) > config.max_broken:
        raise too_many(account.broken, config.max_broken, "files that cannot be read")
    divides = getattr(source, "has_splits", True)
    if divides and config.validation_fraction:
        raise DataError(f"{config.source} at {root} has splits of its own; set validation_fraction to 0")
    if not divides and not config.validation_fraction and split == "validation":
        raise DataError(
            f"{config.source} at {root} has no validation part; set validation_fraction to hold out some of its"
            f" {len(source)} examples, or watch.eval_every to 0 to train without validation"
        )
    count = len(source)
    if not divides and config.validation_fraction:
        source = HoldOut(source, split, config.validation_fraction)
    if count and not len(source):
        raise DataError(
            f"validation_fraction is {config.validation_fraction}, which leaves {split} none of the {count} examples of"
            f" {config.source} at {root}; at least 2 are needed, one for training and one for validation: add some, "
            + (
                "or do without validation (data.validation_fraction=0 and watch.eval_every=0)"
                if split == "validation"
                else "or lower validation_fraction"
            )
        )
    if not count:
        left_out = "; ".join(f"left out: {reason}: {', '.join(names)}" for reason, _, names in account)
        raise DataError(
            f"{config.source} at {root} has no example for {split}; check root, options and validation_fraction"
            + (f" ({left_out})" if left_out else "")
        )
    return source
