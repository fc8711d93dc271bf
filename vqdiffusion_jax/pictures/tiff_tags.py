"""Directories of TIFF data, which EXIF data are too, read without their values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

_ORDERS: dict[bytes, Literal["little", "big"]] = {b"II": "little", b"MM": "big"}
_BIG = 43  # the version of BigTIFF
_NEW_KIND, _OLD_KIND = 254, 255  # tags that tell a thumbnail: NewSubfileType by its lowest bit, SubfileType by 2
_MOST_PAGES = 64  # that are looked at


class Entry(NamedTuple):
    """An entry: its tag, the number of its type, how many values it has, and the first if it is a whole number."""

    tag: int
    kind: int
    count: int
    value: int | None


class _Form(NamedTuple):
    """Order of bytes, bytes of a directory's number of entries, and bytes of a place in the data."""

    order: Literal["little", "big"]
    head: int
    wide: int


def first_directory(data: bytes) -> Iterator[Entry]:
    """Yield the entries of the first directory of TIFF data, as far as they are there; none of other data."""
    if (form := _form_of(data)) is not None:
        yield from _entries(data, form, _first_place(data, form))


def with_whole_page_first(data: bytes) -> bytes:
    """Return TIFF data whose first page is a thumbnail of a later one as if that one were the first.

    Any other data are returned as they are.
    """
    form = _form_of(data)
    if form is None:
        return data
    order, head, wide = form
    place, seen = _first_place(data, form), set[int]()
    while place and place not in seen and len(seen) < _MOST_PAGES:
        seen.add(place)
        if not any(map(_tells_thumbnail, _entries(data, form, place))):
            if len(seen) == 1:
                return data
            start = 8 if wide == 8 else 4
            return b"".join((data[:start], place.to_bytes(wide, order), memoryview(data)[start + wide :]))
        count = int.from_bytes(data[place : place + head], order)
        end = place + head + count * (4 + 2 * wide)
        place = int.from_bytes(data[end : end + wide], order)
    return data


def is_thumbnail(data: bytes) -> bool:
    """Return True for TIFF data whose first page says that it is a smaller copy of another."""
    return any(map(_tells_thumbnail, first_directory(data)))


def _tells_thumbnail(entry: Entry) -> bool:
    if entry.value is None:
        return False
    return entry.tag == _NEW_KIND and bool(entry.value & 1) or entry.tag == _OLD_KIND and entry.value == 2


def _form_of(data: bytes) -> _Form | None:
    order = _ORDERS.get(data[:2])
    if order is None:
        return None
    return _Form(order, 8, 8) if int.from_bytes(data[2:4], order) == _BIG else _Form(order, 2, 4)


def _first_place(data: bytes, form: _Form) -> int:
    start = 8 if form.wide == 8 else 4
    return int.from_bytes(data[start : start + form.wide], form.order)


def _entries(data: bytes, form: _Form, place: int) -> Iterator[Entry]:
    """Yield the entries of the directory at a place, as far as they are there."""
    order, head, wide = form

    def whole(start: int, size: int) -> int:
        return int.from_bytes(data[start : start + size], order)

    length, first = 4 + 2 * wide, place + head
    for entry in range(first, min(first + length * whole(place, head), len(data) - length + 1), length):
        kind = whole(entry + 2, 2)
        size = {1: 1, 3: 2, 4: 4}.get(kind)  # BYTE, SHORT, LONG
        value = None if size is None else whole(entry + 4 + wide, size)
        yield Entry(whole(entry, 2), kind, whole(entry + 4, wide), value)
