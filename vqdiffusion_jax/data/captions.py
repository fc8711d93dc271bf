"""Captions from what a data set holds, the choice of one of an example, and the dropping of captions and labels.

Every source passes the value that it finds through ``captions_in``, and bytes of a text file through
``captions_of_text``, so that one rule says what a caption is, what is none, and what is refused.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import BrokenRecord, printable, shortened, shown
from ..user_files import decode_text, fault_of_text, lines_of

# A whole cell of a table that spells a missing value: what pandas reads as one, other spellings of these, and dashes.
NO_CAPTION = frozenset(
    "none None nan NaN -nan -NaN null NULL <NA> NA N/A n/a NaT #N/A #NA 1.#IND -1.#IND 1.#QNAN -1.#QNAN".split()
    + ["#N/A N/A", *"NONE NAN Nan Null undefined - -- --- \u2013 \u2014".split()]
)
_BLANK = (
    " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
)
_BLANK += "\u200b\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"  # with characters of no width, such as a byte order mark
_ITEM = re.compile(
    r"""\s*(?:(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<none>None|null|nan|NaN|<NA>))\s*(,?)""", re.S
)
_LIST_BEGINS = re.compile(r"""[\[({]\s*['"]|\[\s*[\[{]\s*['"]|\[\s*(?:None|null|nan|NaN|<NA>)\s*[,\]]""")
_CLOSING = {"[": "]", "(": ")", "{": "}"}
_ARRAY_SPELLED = re.compile(r"array\((\[.*\])\s*(?:,\s*dtype=[^()]*)?\)", re.S)
_TABLE_SPELLED = re.compile(r"""\{\s*(?:'[^']*'|"[^"]*")\s*:.*\}""", re.S)


def captions_in(value: Any, *, table: bool = False) -> list[str]:
    """Return the captions that a value of a data set holds, without white space around them.

    A text is one caption, a list, tuple or array of texts several, and so is a text that spells such a list, as a table
    written by pandas has it.  None, NaN, pandas' and NumPy's missing values and blank texts are no caption.  Bytes are
    read as UTF-8.

    table: the value comes from a table (CSV, JSON, parquet), where a text of ``NO_CAPTION`` is a missing value too.
    Raises ValueError for a number, a table, a list in a list, and a text with a null character or a lone surrogate.
    """
    if type(value) is list:  # of most sources, whose texts went this way before
        return _texts(value, table)
    value = _plain(value)
    if _is_missing(value):
        return []
    if isinstance(value, str):
        text = _checked(value)
        listed = _spelled_list(text)
        return _texts([text] if listed is None else listed, table)
    if isinstance(value, list | tuple):
        return _texts(value, table)
    raise _refused(value)


def captions_of_text(data: bytes, name: str, *, lines: bool = False) -> list[str]:
    """Return the captions in the bytes of a text file in UTF-8: one, or with ``lines`` one a line.

    name: the file's, for messages.
    Raises ValueError for another encoding, and as ``captions_in`` does.
    """
    text = decode_text(data, name)
    if not lines:
        return captions_in(text)
    kept = [line for line in lines_of(text) if line.strip(_BLANK)]
    return captions_in(kept[0] if len(kept) == 1 else kept)


def captions_of_bytes(data: bytes, file: str, record: str, *, lines: bool = False) -> list[str]:
    """Return ``captions_of_text(data, file)``.  Raises BrokenRecord(record) in place of ValueError."""
    try:
        return captions_of_text(data, file, lines=lines)
    except ValueError as error:
        raise BrokenRecord(record, error) from error


def usable_captions(captions: Any) -> list[str]:
    """Return the captions that are not blank, stripped and in lower case, as in the reference; perhaps none.

    Raises ValueError as ``captions_in`` does.
    """
    return [caption.lower() for caption in captions_in(captions)]


def is_missing(value: Any) -> bool:
    """Return whether a table's value holds no caption; False for what ``captions_in`` refuses."""
    if isinstance(value, str) and " " in value and value[0].isalpha():  # as nearly all of a million captions
        return False
    try:
        return not captions_in(value, table=True)
    except ValueError:
        return False


def field_of(row: Any, path: str) -> Any:
    """Return the field ``path`` of a table's row, None if it is absent.

    A name with dots that is no field itself leads into tables: ``"caption.en"`` is the field ``en`` of ``caption``, and
    of every table in it if ``caption`` is a list.
    """
    if isinstance(row, list | tuple):
        return [field_of(item, path) for item in row]
    if not isinstance(row, dict | Mapping):  # the first tells nearly all, and soon
        return None
    if path in row:
        return row[path]
    first, dot, rest = path.partition(".")
    return field_of(row.get(first), rest) if dot else None


def choose(count: int, drop_rate: float, rng: np.random.Generator | None) -> int | None:
    """Return the number of a random one of ``count`` captions, or None to drop it, or if there are none.

    Without ``rng`` (validation) it is always the first.
    """
    if not count:
        return None
    if rng is None:
        return 0
    choice = int(rng.integers(count)) if count > 1 else 0  # to choose of one draws nothing, but takes time
    return None if rng.random() < drop_rate else choice


def choose_label(label: int, null_label: int, drop_rate: float, rng: np.random.Generator | None) -> int:
    """Return ``label``, or ``null_label`` to drop it.  Raises ValueError for a label outside [0, ``null_label``)."""
    if not 0 <= label < null_label:
        raise ValueError(f"its label is {label}, outside the model's 0..{null_label - 1}")
    return null_label if choose(1, drop_rate, rng) is None else label


def _plain(value: Any) -> Any:
    """Return the value of Python that an array, a column's scalar or bytes stand for."""
    if type(value) is str:
        return value
    if hasattr(value, "as_py"):  # pyarrow's scalars and arrays
        value = value.as_py()
    if isinstance(value, np.ma.MaskedArray | np.ndarray | np.generic):
        value = value.tolist()
    elif not isinstance(value, str | Mapping) and hasattr(value, "to_pylist"):
        value = value.to_pylist()
    if isinstance(value, bytes | bytearray | memoryview):
        value = decode_text(bytes(value), "its caption")
    return value


def _is_missing(value: Any) -> bool:
    if isinstance(value, str):
        return False
    if value is None or type(value).__name__ in ("NAType", "NaTType"):  # pandas, which need not be installed
        return True
    try:
        return not isinstance(value, list | tuple | Mapping) and math.isnan(value)
    except (TypeError, ValueError, OverflowError):
        return False


def _texts(values: Sequence[Any], table: bool) -> list[str]:
    """Return the captions among the items of a list."""
    texts = []
    for value in values:
        if type(value) is not str:
            value = _plain(value)
            if _is_missing(value):
                continue
            if isinstance(value, list | tuple):
                raise ValueError(f"its caption is a list in a list, {shown(value)}; give one list of texts")
            if not isinstance(value, str):
                raise _refused(value)
        text = _checked(value)
        if text and not (table and text in NO_CAPTION):
            texts.append(text)
    return texts


def _checked(text: str) -> str:
    """Return a text without blanks around it.  Raises ValueError for characters that no text has."""
    text = str(text).strip(_BLANK)  # NumPy's texts are no plain ones
    if (fault := fault_of_text(text)) is not None:
        raise ValueError(f"its caption has {fault}: {shown(text)}; write it anew in UTF-8")
    return text


def _refused(value: Any) -> ValueError:
    if isinstance(value, Mapping):
        names = [printable(shortened(str(name), 40)) for name in list(value)[:5]]
        way = f"name the field to use, as in 'caption.{names[0]}'" if names else "give a text"
        return ValueError(f"its caption is a table with the fields {', '.join(names)}; {way}")
    what = "a number" if isinstance(value, int | float) else f"of type {type(value).__name__}"
    return ValueError(f"its caption is {shown(value)}, {what}; a caption is a text or a list of texts")


def _spelled_list(text: str) -> list[str | None] | None:
    """Return the items of a list or set of texts that is spelt out, in JSON or by Python or NumPy, else None.

    Raises ValueError for a text that begins and ends like such a list, or like a table, and is none.
    """
    if match := _ARRAY_SPELLED.fullmatch(text):
        text = match[1]
    if text[:1] not in ("[", "(", "{"):
        return None
    if _TABLE_SPELLED.fullmatch(text):
        raise ValueError(f"its caption spells a table, {shown(text)}; give a text or a list of texts")
    if text == "[]":
        return []
    if not _LIST_BEGINS.match(text) or text[-1] != _CLOSING[text[0]]:
        return None
    items: list[str | None] = []
    at, end, commas = 1, len(text) - 1, 0
    while at < end and (match := _ITEM.match(text, at, end)):
        items.append(None if match["none"] else _unquoted(match["text"]))
        commas += bool(match[3])
        at = match.end()
    whole = at >= end and (commas >= len(items) - 1 or text[0] == "[" and not commas)
    if whole and (text[0] != "(" or commas):
        return items
    if text[0] != "[":
        return None
    raise ValueError(
        f"its caption begins like a list of texts, {shown(text)}, but is none; give a text or a list of texts"
    )


def _unquoted(literal: str) -> str:
    """Return the text of a quoted one, with the escapes of JSON and Python."""
    if "\\" not in literal:
        return literal[1:-1]
    try:
        text = ast.literal_eval(literal.replace("\\/", "/").replace("\n", "\\n").replace("\r", "\\r"))
        return text.encode("utf-16", "surrogatepass").decode("utf-16")  # JSON writes rare characters as two halves
    except (ValueError, SyntaxError) as error:
        raise ValueError(f"its caption has a quotation that cannot be read, {shown(literal)}") from error
