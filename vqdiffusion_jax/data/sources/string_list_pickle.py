"""A safe reader of pickled lists of strings.  It reads the opcodes and builds no object, so nothing can run."""

from __future__ import annotations

import pickletools
from pathlib import Path
from typing import Any

from ...errors import DataError
from ...user_files import read_bytes

_STRINGS = {
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
    "UNICODE",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
}
_MOST_BYTES = 2**26
_LIST_STARTS = {"EMPTY_LIST", "LIST"}
_STORES = {"PUT", "BINPUT", "LONG_BINPUT"}
_RECALLS = {"GET", "BINGET", "LONG_BINGET"}
_HARMLESS = {"PROTO", "FRAME", "MARK", "APPEND", "APPENDS", "STOP"}


def read_string_list(path: Path) -> list[str]:
    """Return the strings of a pickled flat list of strings (protocols 0 to 5, Python 2's included).

    Raises DataError for a pickle that holds anything else, and names the first such thing.
    """
    strings: list[str] = []
    remembered: dict[int, str | None] = {}  # the pickle's memo: a string, or None for the list
    lists, last = 0, None
    try:
        argument: Any  # a string or a number, as the opcode says
        for opcode, argument, _ in pickletools.genops(read_bytes(path, most=_MOST_BYTES)):
            name = opcode.name
            if name in _STRINGS:
                last = argument
                strings.append(argument)
            elif name in _LIST_STARTS:
                lists, last = lists + 1, None
                if lists > 1:
                    raise DataError(f"{path} holds a list within a list; expected one flat list of names")
            elif name in _STORES or name == "MEMOIZE":
                remembered[len(remembered) if name == "MEMOIZE" else argument] = last
            elif name in _RECALLS and (recalled := remembered.get(argument)) is not None:
                last = recalled
                strings.append(recalled)
            elif name not in _HARMLESS:
                shown = f"{name} {argument}" if argument is not None else name
                raise DataError(
                    f"{path} holds {shown!r:.80}, which is no list of names; refused, and nothing of it was run"
                )
    except DataError:
        raise
    except (ValueError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a pickled list of names: {error}") from error
    if lists != 1:
        raise DataError(f"{path} holds no list; expected a pickled list of names")
    return strings
