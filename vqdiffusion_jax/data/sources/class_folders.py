"""The order of class folders, which numbers the classes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from ...errors import first_of
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
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(unicodedata.normalize("NFC", name).casefold(), []).append(name)
    for group in alike.values():
        if len(group) > 1:
            account.note(
                f"class folders {', '.join(group)} differ in capitals or forms of accents alone; each is a class"
            )
    return {name: label for label, name in enumerate(names)}


def note_one_class(pictures: Iterable[str], account: Account) -> None:
    """Note in the account what folders are in the only class folder, as these may be the classes.

    pictures: relative paths, all below one folder.
    """
    below = sorted({parts[1] for name in pictures if len(parts := name.split("/")) > 2})
    if len(below) > 1:
        told = f"all pictures are of one class; if the classes are the folders in it, {first_of(below)}, set root to it"
        account.note(told)
