"""Files that a user names, here or in a bucket: regular ones, within a size, with text in UTF-8."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Iterator
from itertools import chain
from os import PathLike
from typing import Any, BinaryIO

from .storage.addresses import address_of
from .storage.copies import here

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_MOST_TEXT = 1 << 30
_MOST_JSON = 1 << 30
_PART = 1 << 20  # bytes that are read at once of a file whose size is not as stated
_DEEPEST = 100
_LONG = 1 << 16  # characters of a JSON text whose containers are not counted before it is looked how deep they lie
_CONTAINERS = frozenset((dict, list))
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*+"?|([\[\]{}])', re.DOTALL)  # and texts, in which they mean nothing
_MARKS = (  # byte order marks, longest first
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


def open_regular(path: str | PathLike[str], *, most: int | None = None) -> BinaryIO:
    """Open a regular file to read its bytes, without waiting for a writer at the other end of a pipe.

    most: the largest size in bytes that is accepted; None accepts any.
    Raises OSError, with the path and the reason, for what is no regular file, too large, or cannot be opened, and
    StorageError for an address that cannot be read.
    """
    return os.fdopen(_opened(path, most)[0], "rb")


def _opened(path: str | PathLike[str], most: int | None) -> tuple[int, int]:
    """Return the descriptor and the size in bytes of a regular file.  Raises as ``open_regular`` does."""
    path = os.fspath(path if address_of(path) is None else here(path))
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except ValueError as error:  # a path with a null character
        raise OSError(errno.EINVAL, str(error), path) from error
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise _irregular(path, stat.S_IFSOCK) from error
        raise
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise _irregular(path, stat.S_IFMT(about.st_mode))
        if most is not None and about.st_size > most:
            raise OSError(errno.EFBIG, f"it has {about.st_size} bytes, and at most {most} are read", path)
        return descriptor, about.st_size
    except BaseException:
        os.close(descriptor)
        raise


def check_tree(folder: str | PathLike[str]) -> None:
    """Raise OSError, with the path and the reason, unless a folder holds regular files and folders alone.

    For folders that a library reads, which would wait for a pipe or fill memory from a device.  Links are followed.
    """
    waiting, visited = [os.fspath(folder)], set()
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                about = entry.stat()  # which also fails for a link to nothing, or in a circle
                if stat.S_ISDIR(about.st_mode):
                    if (about.st_dev, about.st_ino) not in visited:
                        visited.add((about.st_dev, about.st_ino))
                        waiting.append(entry.path)
                elif not stat.S_ISREG(about.st_mode):
                    raise _irregular(entry.path, stat.S_IFMT(about.st_mode))


def check_regular(path: str | PathLike[str]) -> None:
    """Raise OSError, with the path and the reason, if a file that a library will read is there and is not regular."""
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
    except OSError:  # absent, or a link to nothing
        return
    if kind not in (stat.S_IFREG, stat.S_IFDIR):
        raise _irregular(os.fspath(path), kind)


def read_bytes(path: str | PathLike[str], *, most: int) -> bytes:
    """Return the bytes of a regular file of at most ``most`` bytes.  Raises OSError as ``open_regular`` does."""
    descriptor, size = _opened(path, most)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        data = file.read(size + 1)  # memory for as much as is asked for is taken at once
        if len(data) != size:  # it comes in parts, grew, was cut, or states no size, as files under /proc do
            parts, left = [data], most + 1 - len(data)
            while left > 0 and (part := file.read(min(left, _PART))):
                parts.append(part)
                left -= len(part)
            data = b"".join(parts)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"more than {most} bytes come from it", os.fspath(path))
    return data


def read_text(path: str | PathLike[str], *, most: int = _MOST_TEXT) -> str:
    """Return the text of a regular file in UTF-8, without a byte order mark.

    Raises OSError as ``open_regular`` does, and ValueError that names the file and the encoding it seems to have.
    """
    return decode_text(read_bytes(path, most=most), os.fspath(path))


def decode_text(data: bytes, name: str) -> str:
    """Return bytes of UTF-8 as text, without a byte order mark.

    Raises ValueError that names the source as ``name``, the line, and the encoding that the bytes seem to have.  A null
    character is refused too: no text has one, and those of UTF-16 and UTF-32 have many.
    """
    if (other := _other_unicode(data)) is not None:
        raise ValueError(f"{name} is no UTF-8 text: it seems to be {other}; save it as UTF-8")
    try:
        text = data.decode("utf-8").lstrip("\ufeff")
    except UnicodeDecodeError as error:
        where = f"its line {_line(data, error.start)} has the byte 0x{data[error.start]:02x}"
        what = f"{where}, as Latin-1, Windows-1252 or another encoding has"
        raise ValueError(f"{name} is no UTF-8 text: {what}; save it as UTF-8") from error
    if (at := data.find(0)) >= 0:
        raise ValueError(
            f"{name} is no text: its line {_line(data, at)} has a null character; save it as text in UTF-8"
        )
    return text


def _other_unicode(data: bytes) -> str | None:
    """Return the name of the encoding of text in UTF-16 or UTF-32, told by its mark or its null bytes, or None."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return encoding
    start = data[: min(len(data), 4096) // 4 * 4]
    nulls = start.count(0)
    if not nulls:
        return None
    if nulls * 10 >= len(start) * 6:
        return "UTF-32"
    alternating = max(start[::2].count(0), start[1::2].count(0))
    if alternating * 10 >= len(start) * 4 and nulls < alternating * 1.2:
        return "UTF-16"
    return None


def _line(data: bytes, at: int) -> int:
    return len(lines_of(data[:at].decode("latin-1"), keep_last=True))


def lines_of(text: str, *, keep_last: bool = False) -> list[str]:
    r"""Return the lines of a text, which end at \n, \r\n or \r alone, and at no other character of Unicode.

    keep_last: keep the empty line after the last line end.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    return lines if keep_last or lines[-1] else lines[:-1]


def fault_of_text(text: str) -> str | None:
    """Return what keeps a text from being stored as UTF-8 text, in words that follow "it has"; None if nothing does."""
    if "\0" in text:
        return "a null character"
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        # Python holds the bytes of an argument or a file name that are no UTF-8 as these.
        return f"the byte 0x{code - 0xDC00:02x}, which is no UTF-8" if 0xDC80 <= code <= 0xDCFF else "half a character"
    return None


def read_json(path: str | PathLike[str], *, most: int = _MOST_JSON) -> Any:
    """Return the value that a JSON file in UTF-8 holds.

    Raises OSError as ``open_regular`` does, and ValueError that names the file for another encoding, for what is no
    JSON, and for values nested more than 100 deep.
    """
    return parse_json(read_text(path, most=most), os.fspath(path))


def parse_json(text: str, name: str, *, unique: bool = False) -> Any:
    """Return the value of a JSON text.

    unique: a table in which two fields have one name is an error, where otherwise the last of them counts.
    Raises ValueError that names the source as ``name`` for what is no JSON and for values nested more than 100 deep.
    """
    try:
        value = (_UNIQUE if unique else _PLAIN).decode(text)
        if _may_be_deeper(text, _DEEPEST) and _is_deeper(value, _DEEPEST):
            raise RecursionError
    except RecursionError:
        raise ValueError(f"{name} has values nested more than {_DEEPEST} deep") from None
    except json.JSONDecodeError as error:
        # Whether the parser gives up before a text that is cut ends, depends on the Python.
        if _opens_deeper(text[: error.pos], _DEEPEST):
            raise ValueError(f"{name} has values nested more than {_DEEPEST} deep") from None
        raise ValueError(f"{name} is no JSON: line {error.lineno}, column {error.colno}: {error.msg}") from error
    except _Doubled as error:
        raise ValueError(f"{name}: {error}") from error
    except ValueError as error:  # an integer of thousands of digits
        raise ValueError(f"{name} is no JSON: {error}") from error
    return value


def plain_table(text: str) -> dict[str, Any] | None:
    """Return the value of a JSON text that is one table of different fields, with no table in it and not nested deep.

    Most rows of tables are such, and are read in a third of the time of ``parse_json``.  None: see what that says.
    """
    try:
        value, end = _PLAIN.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    # Every field has a colon, so as many colons as fields mean that none stands twice, and none in a table within.
    if type(value) is not dict or end != len(text) or text.count(":") != len(value):
        return None
    return None if "[" in text and _may_be_deeper(text, _DEEPEST) else value


class _Doubled(ValueError):
    """A field that a table has more than once."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise _Doubled(f"the field {doubled[:80]!r} stands more than once in a table")
    return table


_PLAIN, _UNIQUE = json.JSONDecoder(), json.JSONDecoder(object_pairs_hook=_unique)


def _may_be_deeper(text: str, depth: int) -> bool:
    """Return False for a JSON text of at most ``depth`` containers; those of a long text are not counted."""
    return len(text) > _LONG or text.count("[") + text.count("{") > depth


def _is_deeper(value: Any, depth: int) -> bool:
    """Return whether containers lie in each other more than ``depth`` deep; by levels, so that nothing recurses."""
    level = [value]
    for _ in range(depth):
        kinds = set(map(type, level))
        tables = level if kinds == {dict} else [item for item in level if type(item) is dict]
        lists = [] if list not in kinds else [item for item in level if type(item) is list]
        if _CONTAINERS.isdisjoint(map(type, _items(tables, lists))):  # as for most levels: then no list is made
            return False
        level = list(_items(tables, lists))
    return True


def _items(tables: list[dict[str, Any]], lists: list[list[Any]]) -> Iterator[Any]:
    return chain(chain.from_iterable(map(dict.values, tables)), chain.from_iterable(lists))


def _opens_deeper(text: str, depth: int) -> bool:
    """Return whether the beginning of a JSON text opens more than ``depth`` containers in each other."""
    if text.count("[") + text.count("{") <= depth:
        return False
    open_ = 0
    for match in _BRACKETS.finditer(text):
        if match[1]:
            open_ += 1 if match[1] in "[{" else -1
            if open_ > depth:
                return True
    return False


def _irregular(path: str, kind: int) -> OSError:
    return OSError(errno.EINVAL, f"it is {_KINDS.get(kind, 'no regular file')}; a regular file is needed", path)
