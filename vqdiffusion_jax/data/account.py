"""An account of a data set: what was left out and why, and what else its owner should know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import printable

_NAMES_SHOWN = 5
_NAMES_KEPT = 100_000  # of each reason; copies for worker processes keep the first few


class Account:
    """Counts of what a data set leaves out, by reason, with names, and notes in plain sentences.

    A source keeps one as its attribute ``account`` and fills it while it opens.  Iterating gives (reason, count, first
    names), in the order in which the reasons came up.  It is picklable, and a copy is small.

    notes: plain sentences.  broken: the reason for each file of many examples that cannot be read, by its name.
    """

    def __init__(self):
        self.notes: list[str] = []
        self.broken: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._names: dict[str, list[str]] = {}

    def left_out(self, reason: str, name: str, count: int = 1) -> None:
        """Count ``name`` as left out for ``reason``, a short clause such as ``"without a caption"``.

        count: the number of examples that ``name`` stands for.
        """
        self._counts[reason] = self._counts.get(reason, 0) + count
        names = self._names.setdefault(reason, [])
        if len(names) < _NAMES_KEPT:
            names.append(printable(name))

    def note(self, text: str) -> None:
        """Keep a sentence once."""
        if text not in self.notes:
            self.notes.append(text)

    def broke(self, name: str, reason: str) -> None:
        """Name a file of many examples that cannot be read."""
        self.broken[name] = reason
        self.left_out("a file that cannot be read", f"{name} ({reason})")

    def to_table(self) -> dict[str, Any]:
        """Return all of it as plain types of JSON."""
        return {"notes": self.notes, "broken": self.broken, "counts": self._counts, "names": self._names}

    def add(self, table: Mapping[str, Any]) -> None:
        """Add what ``to_table`` gave."""
        self.notes += [note for note in table["notes"] if note not in self.notes]
        self.broken |= table["broken"]
        for reason, count in table["counts"].items():
            self._counts[reason] = self._counts.get(reason, 0) + count
            self._names.setdefault(reason, []).extend(table["names"][reason])

    def names(self, reason: str) -> list[str]:
        """Return the names of a reason, all of them unless there are more than a hundred thousand."""
        return list(self._names.get(reason, ()))

    def __iter__(self) -> Iterator[tuple[str, int, list[str]]]:
        for reason, count in self._counts.items():
            yield reason, count, self._names[reason][:_NAMES_SHOWN]

    def __bool__(self) -> bool:
        return bool(self._counts or self.notes)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_names": {reason: names[:_NAMES_SHOWN] for reason, names in self._names.items()}}


def account_of(source: Any) -> Account:
    """Return the account of a source, or an empty one if it keeps none."""
    return getattr(source, "account", Account())
