"""The first directory of TIFF data, which EXIF data are too, read without its values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

_ORDERS: dict[bytes, Literal["little", "big"]] = {b"II": "little", b"MM": "big"}
_BIG = 43  # the version of BigTIFF


class Entry(NamedTuple):
    """An entry: its tag, the number of its type, how many values it has, and the first if it is a whole number."""

    tag: int
    kind: int
    count: int
    value: int | None


def first_directory(data: bytes) -> Iterator[Entry]:
    """Yield the entries of the first directory of TIFF data, as far as they are there; none of other data."""
    order = _ORDERS.get(data[:2])
    if order is None:
        return

    def whole(start: int, size: int) -> int:
        return int.from_bytes(data[start : start + size], order)

    big = whole(2, 2) == _BIG
    first, head, wide = (whole(8, 8), 8, 8) if big else (whole(4, 4), 2, 4)
    length = 4 + 2 * wide
    for entry in range(first + head, min(first + head + length * whole(first, head), len(data) - length + 1), length):
        kind = whole(entry + 2, 2)
        size = {1: 1, 3: 2, 4: 4}.get(kind)  # BYTE, SHORT, LONG
        value = None if size is None else whole(entry + 4 + wide, size)
        yield Entry(whole(entry, 2), kind, whole(entry + 4, wide), value)
