"""The members of a tar shard by example, as webdataset groups them."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ...errors import one_line
from ...pictures import EXTENSIONS
from ...user_files import open_regular
from ..account import Account
from ..caption_table import CAPTION_COLUMNS
from ..listing import is_foreign

_IMAGES = tuple(ending.removeprefix(".") for ending in EXTENSIONS)
_TEXTS = ("txt", "text", "caption")
# What comes before the last dot in the extension of a caption: ``7.caption.txt``, ``7.jpg.txt``.
_CAPTION_STEMS = (*CAPTION_COLUMNS, *_IMAGES)
_ABSENT = (-1, 0)
_NO_TEXTS = (-1, 0, -1, 0)


class Place(NamedTuple):
    """The bytes of an example in a shard: its picture, its text and its JSON; the offset of what is absent is -1."""

    key: str
    offset: int
    size: int
    text_offset: int
    text_size: int
    json_offset: int
    json_size: int


def index_shard(path: Path, name: str, account: Account) -> list[Place]:
    """Return the examples of a tar file, in order, and account for what belongs to none.

    The key of a file is all before the first dot of its name, with its folder, and the rest is its extension
    (webdataset's rule).  An extension of several parts ends with the format: ``7.photo.jpg`` is a picture of example 7.
    Where a key has several pictures, each that has a text of its own (``my.photo.jpg`` and ``my.photo.txt``) is an
    example; otherwise the plain one is taken.  A single picture without a text of its own has the one whose extension
    begins with a usual name of captions, as in ``7.caption.txt``.

    A truncated shard gives the examples before its end.  Raises ValueError if there is none, OSError if the file cannot
    be read.
    """
    groups: dict[str, dict[str, tuple[int, int]]] = {}
    for key, extension, offset, size in _members(path, name, account):
        if extension in groups.setdefault(key, {}):
            account.left_out("a file that a later one of the same name replaces", f"{name}/{key}.{extension}")
        groups[key][extension] = (offset, size)
    found = []
    for key, files in groups.items():
        examples = list(_examples(key, files))
        found += examples
        used = {offset for place in examples for offset in (place.offset, place.text_offset, place.json_offset)}
        for extension, (offset, _) in files.items():
            if offset in used:
                continue
            ending = extension.rpartition(".")[2]
            if ending in _IMAGES:
                reason = "a further picture of an example"
            else:
                reason = (
                    f"beside a picture but not read, .{ending}" if examples else "a file that belongs to no picture"
                )
            account.left_out(reason, f"{name}/{key}.{extension}".rstrip("."))
    return found


def _examples(key: str, files: dict[str, tuple[int, int]]) -> Iterator[Place]:
    """Yield the examples of one key."""
    by_stem: dict[str, dict[str, tuple[int, int]]] = {}
    for extension, place in files.items():
        stem, _, ending = extension.rpartition(".")
        by_stem.setdefault(stem, {})[ending] = place
    pictures: dict[str, tuple[int, int]] = {}
    for stem, endings in by_stem.items():
        ending = next((ending for ending in _IMAGES if ending in endings), None)
        if ending is not None:
            pictures[stem] = endings[ending]
    own = {stem: _text(by_stem[stem]) for stem in pictures}
    shared = _text(by_stem.get("", {}))
    if len(pictures) == 1:
        stem, place = next(iter(pictures.items()))
        yield _place(key, place, own[stem] or shared or _by_name(by_stem))
        return
    if "" in pictures:
        yield _place(key, pictures[""], shared)
    for stem, place in pictures.items():
        if stem and (text := own[stem]) is not None:
            yield _place(f"{key}.{stem}", place, text)


def _place(key: str, picture: tuple[int, int], texts: tuple[int, int, int, int] | None) -> Place:
    text, text_size, table, table_size = texts or _NO_TEXTS
    return Place(key, picture[0], picture[1], text, text_size, table, table_size)


def _text(endings: dict[str, tuple[int, int]]) -> tuple[int, int, int, int] | None:
    """Return offset and size of the text and of the JSON among an example's files; None if there is neither."""
    text, size = next((endings[ending] for ending in _TEXTS if ending in endings), _ABSENT)
    table, table_size = endings.get("json", _ABSENT)
    return None if text == table == -1 else (text, size, table, table_size)


def _by_name(by_stem: dict[str, dict[str, tuple[int, int]]]) -> tuple[int, int, int, int] | None:
    """Return ``_text`` of the files whose extension begins as a caption's does."""
    return next((text for stem in _CAPTION_STEMS if (text := _text(by_stem.get(stem, {}))) is not None), None)


def _members(path: Path, name: str, account: Account) -> Iterator[tuple[str, str, int, int]]:
    """Yield (key, extension, offset, size) of the regular files in a tar file, in order.

    Nothing is extracted, so what a member's name leads to is no matter.
    """
    places: dict[str, tuple[int, int]] = {}  # by name, for hard links
    whole, last = os.path.getsize(path), -1
    reason = ""
    with open_regular(path) as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    if member.offset <= last or member.size < 0:  # a header that leads backwards would never end
                        raise tarfile.ReadError("bad header")
                    last = member.offset
                    if member.isdir():
                        continue
                    folder, _, base = member.name.rpartition("/")
                    shown = f"{name}/{member.name}"
                    if is_foreign(base) or "__MACOSX" in folder.split("/"):
                        account.left_out("a hidden or foreign file", shown)
                        continue
                    if member.islnk() and member.linkname in places:
                        place = places[member.linkname]
                    elif not member.isreg() or member.issparse():
                        account.left_out("a link, a device or a file with holes in a shard", shown)
                        continue
                    else:
                        place = member.offset_data, member.size
                    if sum(place) > whole:
                        account.left_out("a file that its shard ends before", shown)
                        continue
                    places[member.name] = place
                    stem, _, extension = base.partition(".")
                    yield f"{folder}/{stem}" if folder else stem, extension.lower(), *place
                file.seek(tar.offset)
                if not file.read(1):
                    reason = "it has no end mark"
        except Exception as error:  # tarfile raises errors of many classes for damaged headers
            reason = one_line(error)
    if reason and not places:
        raise ValueError(f"it is not a whole tar file ({reason}); download it again")
    if reason or (whole and not places and last < 0):
        account.note(f"{name} is not a whole tar file ({reason or 'it is empty'}); what comes before its end is read")
