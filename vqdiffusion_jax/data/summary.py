"""A short account of a data set in words, for the start of a run."""

from __future__ import annotations

import numpy as np

from ..errors import BrokenRecord, printable, shortened
from .account import account_of
from .captions import captions_in
from .examples import read_record
from .records import Source

_READ = 8  # examples whose captions are counted
_CLASSES = 6  # names of classes that are shown
_REASONS = 8
_WIDTH = 200


def summary(source: Source, where: str, split: str) -> list[str]:
    """Return lines: examples, captions a picture and classes of a split, and what is left out, with first names.

    where: the data set in words.
    """
    parts = [f"{len(source):,} examples", captions_of_some(source), classes_of(source)]
    lines = [f"data: {where}, {split}: {', '.join(part for part in parts if part)}"]
    account = account_of(source)
    for reason, count, names in list(account)[:_REASONS]:
        more = f" and {count - len(names)} more" if count > len(names) else ""
        lines.append(f"  left out, {reason}: {count} ({', '.join(names[:3])}{more if len(names) <= 3 else ', ...'})")
    if (further := len(list(account)) - _REASONS) > 0:
        lines.append(f"  and for {further} more reasons; --mode=inspect tells all")
    lines += [f"  note: {note}" for note in account.notes[:_REASONS]]
    return [shortened(printable(line), _WIDTH) for line in lines]


def captions_of_some(source: Source, count: int = _READ) -> str:
    """Return the mean number of captions of a few examples, spread over the data set; "" if none has captions."""
    counts = []
    for index in np.unique(np.linspace(0, len(source) - 1, min(count, len(source))).astype(int)).tolist():
        try:
            record = read_record(source, index)
            if "captions" in record:
                counts.append(len(captions_in(record["captions"])))
        except (BrokenRecord, ValueError):
            continue
    return f"{np.mean(counts):.3g} captions a picture" if any(counts) else ""


def classes_of(source: Source) -> str:
    """Return the number of classes and the first names; "" without classes."""
    count = getattr(source, "num_classes", None)
    if not count:
        return ""
    names = list(getattr(source, "classes", ()))
    shown = ", ".join(names[:_CLASSES]) + (", ..." if len(names) > _CLASSES else "")
    return f"{count} classes" + (f" ({shown})" if shown else "")
