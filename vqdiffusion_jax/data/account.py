"""An account of a data set: what was left out and why, and what else its owner should know."""

from __future__ import annotations

from collections.abc import Iterator

_NAMES_KEPT = 5


class Account:
    """Counts of what a data set leaves out, by reason, with the first names of each, and notes in plain sentences.

    A source keeps one as its attribute ``account`` and fills it while it opens.  Iterating gives (reason, count, first
    names), in the order in which the reasons came up.  It is picklable and has a size that does not grow with the data
    set.
    """

    def __init__(self):
        self.notes: list[str] = []
        self._left_out: dict[str, tuple[int, list[str]]] = {}

    def left_out(self, reason: str, name: str) -> None:
        """Count ``name`` as left out for ``reason``, a short clause such as ``"without a caption"``."""
        count, names = self._left_out.get(reason, (0, []))
        self._left_out[reason] = (count + 1, [*names, name] if len(names) < _NAMES_KEPT else names)

    def note(self, text: str) -> None:
        """Keep a sentence once."""
        if text not in self.notes:
            self.notes.append(text)

    def __iter__(self) -> Iterator[tuple[str, int, list[str]]]:
        for reason, (count, names) in self._left_out.items():
            yield reason, count, list(names)

    def __bool__(self) -> bool:
        return bool(self._left_out or self.notes)
