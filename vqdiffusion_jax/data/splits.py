"""Splits of a data set, told from the names of its folders, its files or the values of a column."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..errors import DataError, first_of
from .account import Account

KEPT_WHOLE = "none"  # the value of the option ``splits`` for a data set whose names say nothing about splits
_TRAIN, _VALIDATION, _TEST = "train", "validation", "test"
_WORDS = {
    _TRAIN: "train|training|trn|trainval|restval",
    _VALIDATION: "val|valid|validate|validating|validation|minival|dev|devel|development|eval|evaluate|evaluation"
    "|holdout|heldout",
    _TEST: "test|testing|tests|tst|testdev",
}
_WORD = {
    split: re.compile(rf"(?:x|y|mini)?(?:{words})(?:set|split|data|dir|images?|imgs?|pictures?|photos?)?")
    for split, words in _WORDS.items()
}
# Whole names that mean splits only side by side: tr alone is Turkish.
_SHORT = {"tr": _TRAIN, "va": _VALIDATION, "vl": _VALIDATION, "te": _TEST, "ts": _TEST}
_TOKENS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_HOLD_OUT = re.compile(r"h[eo]ld[-_ ]?out", re.IGNORECASE)
_NAMED = 6  # names that a message shows


@dataclass(frozen=True)
class Division:
    """The names that belong to a split.

    kept: each such name with the number of leading path parts that end with the split's own; 0 where no part names it.
    has_splits: True if the names have a training and a validation split.
    """

    kept: Mapping[str, int]
    has_splits: bool


def splits_in(name: str) -> set[str]:
    """Return the splits that the words of one name mean: ``{"train"}`` of ``Train``, ``train2014`` or ``training_set``.

    Words end at digits, punctuation and capital letters, so ``constrain`` and ``contest`` mean none.
    """
    text = _HOLD_OUT.sub("holdout", name)
    tokens = {token.lower() for token in _TOKENS.findall(text)} | set(re.findall(r"[a-z]+", text.lower()))
    found = {split for split, word in _WORD.items() if any(word.fullmatch(token) for token in tokens)}
    # The evaluation server's part of COCO is called test-dev.
    return {_TEST} if found == {_TEST, _VALIDATION} and "dev" in tokens else found


def divide(
    names: Iterable[str], split: str, *, where: object, splits: str | Mapping[str, str] = "", account: Account
) -> Division:
    """Return the names of ``split``, ``"train"`` or ``"validation"``.

    names: paths below the data set's folder with forward slashes, of folders or of files without their endings, or
      values of a column.  The first part of a path that means one split decides.
    splits: ``""`` tells splits from the names; ``"none"`` takes all names as one set; a dict gives a pattern for each
      split, ``{"train": "fold[0-8]", "validation": "fold9"}``, which a whole name or any part of its path must match.

    Where there is no validation split, the test split takes its place, with a note in ``account``, which also names
    what belongs to neither.  Raises DataError for names that do not tell which records are for training.
    """
    names = list(dict.fromkeys(names))
    if splits == KEPT_WHOLE or not names:
        return Division(dict.fromkeys(names, 0), has_splits=False)
    told = _told_by_patterns(names, splits) if splits else _told(names, where)
    there = {kind for kind, _ in told.values() if kind is not None}
    others = [name for name, (kind, _) in told.items() if kind is None]
    if not there:
        if splits:
            raise DataError(f"{where}: splits is {splits!r}, which matches nothing; found {_listed(names)}")
        return Division(dict.fromkeys(names, 0), has_splits=False)
    if there == {_TRAIN}:
        if others and not splits:
            raise unclear(where, list(told))
        _leave_out(told, {_TRAIN}, account)
        return Division({name: depth for name, (kind, depth) in told.items() if kind == _TRAIN}, has_splits=False)
    held_out = _VALIDATION if _VALIDATION in there else _TEST
    if _TRAIN not in there and (others or split == _TRAIN):
        raise unclear(where, list(told))
    wanted = _TRAIN if split == _TRAIN else held_out
    if held_out == _TEST and split == _VALIDATION:
        account.note("there is no validation split; the test split is used for validation")
    _leave_out(told, {_TRAIN, held_out}, account)
    return Division({name: depth for name, (kind, depth) in told.items() if kind == wanted}, has_splits=True)


def _told(names: list[str], where: object) -> dict[str, tuple[str | None, int]]:
    """Return (split or None, number of path parts that end with the split's) for each name."""
    parts = {name: name.split("/") if name else [] for name in names}
    common = 0  # leading folders that all names share tell nothing apart, unless nothing else tells anything
    while all(len(p) > common for p in parts.values()) and len({p[common] for p in parts.values()}) == 1:
        common += 1
    told = {name: _first(p, common) for name, p in parts.items()}
    if not any(kind for kind, _ in told.values()):
        told = _short(parts, common) or {name: _first(p[:common], 0) for name, p in parts.items()}
    if unclear := [name for name, (kind, _) in told.items() if kind == ""]:
        raise DataError(f"{where}: {_listed(unclear)} may be of several splits; {_remedy()}, or rename it")
    return told


def _short(parts: Mapping[str, list[str]], place: int) -> dict[str, tuple[str | None, int]] | None:
    """Return what ``_told`` does if names at a place of the path are short for splits, training's among them."""
    found = {name: _SHORT.get(p[place].lower()) if len(p) > place else None for name, p in parts.items()}
    if _TRAIN not in found.values() or len(set(found.values()) - {None}) < 2:
        return None
    return {name: (kind, place + 1 if kind else 0) for name, kind in found.items()}


def _first(parts: list[str], start: int) -> tuple[str | None, int]:
    """Return the split that the first clear part from ``start`` on means: None for none, "" if only unclear ones do."""
    of_several = False
    for number, part in enumerate(parts[start:], start + 1):
        found = splits_in(part)
        if len(found) == 1:
            return found.pop(), number
        of_several = of_several or bool(found)
    return ("" if of_several else None), 0


def _told_by_patterns(names: list[str], splits: str | Mapping[str, str]) -> dict[str, tuple[str | None, int]]:
    if not isinstance(splits, Mapping) or not splits or not set(splits) <= {_TRAIN, _VALIDATION, _TEST}:
        raise DataError(
            f"splits is {splits!r}; allowed: '', 'none', or a dict of patterns with the keys train, validation and test"
        )
    told: dict[str, tuple[str | None, int]] = {}
    for name in names:
        told[name] = (None, 0)
        for kind, pattern in splits.items():
            parts = name.split("/")
            depth = next((n for n, part in enumerate(parts, 1) if fnmatch.fnmatchcase(part, str(pattern))), 0)
            if depth or fnmatch.fnmatchcase(name, str(pattern)):
                told[name] = (kind, depth)
                break
    return told


def _leave_out(told: Mapping[str, tuple[str | None, int]], used: set[str], account: Account) -> None:
    for name, (kind, _) in told.items():
        if kind not in used:
            account.left_out(f"of the {kind} split" if kind else "of no split", name or ".")


def unclear(where: object, names: list[str]) -> DataError:
    """Return an error about names that do not tell which part is for training."""
    return DataError(f"{where}: which part is for training is unclear; found {_listed(names)}; {_remedy()}")


def _remedy() -> str:
    return (
        "say it with options.splits, for instance {'train': 'NAME', 'validation': 'NAME'}, or 'none' to take all as one"
    )


def _listed(names: list[str]) -> str:
    return first_of([name or "files directly in it" for name in names], _NAMED)
