"""The order of class folders, which numbers the classes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..account import Account

_NUMBERED = re.compile(r"(\D*)(\d+)(.*)", re.DOTALL)
_SHOWN = 12


def ordered(folders: Iterable[str]) -> list[str]:
    """Return folder names sorted: by number where all are numbered alike ("2" before "10"), else as text.

    Numbered alike means a common beginning and a number each, all different; more text may follow.
    """
    names = sorted(set(folders))
    matches = [_NUMBERED.fullmatch(name) for name in names]
    numbers = [int(match[2]) for match in matches if match is not None]
    beginnings = {match[1] for match in matches if match is not None}
    if len(numbers) != len(names) or len(beginnings) > 1 or len(set(numbers)) < len(numbers):
        return names
    return [name for _, name in sorted(zip(numbers, names, strict=True))]


def numbered(folders: Iterable[str], account: Account) -> dict[str, int]:
    """Return the label of each class folder, and note the classes in the account."""
    names = ordered(folders)
    if names != sorted(names):
        account.note(f"class folders are in the order of their numbers: {', '.join(names[:_SHOWN])}")
    return {name: label for label, name in enumerate(names)}
