"""Tables that a user wrote or exported, row by row: CSV, TSV, JSON lines and JSON."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import DataError, one_line, shown
from ..user_files import lines_of, parse_json, plain_table, read_text

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
UNNAMED = "unnamed column "  # and its number: the name of a column without one
_DELIMITERS = {".csv": ",;\t|", ".tsv": "\t"}
_LISTS = ("data", "rows", "images", "annotations")  # fields of a JSON table that may hold its rows
# A line of a quoted cell that looks like the next row: the quotation was not meant to go on.
_NEXT_ROW = re.compile(r"[\r\n]\s*\"?[^\r\n\"]*\.(?:jpe?g|png|webp|gif|bmp|tiff?|avif)\"?\s*[,;\t|]", re.IGNORECASE)


Row = dict[str, Any]  # cells by their columns' names


class _CsvRow(Row):
    """A row of a table whose line ``named_in`` names the columns."""

    def __init__(self, cells: Iterable[tuple[str, Any]], named_in: int):
        super().__init__(cells)
        self.named_in = named_in


def line_of_names(row: Row, line: int) -> int:
    """Return the line that names the columns of the row at ``line``: in JSON that is its own."""
    return row.named_in if isinstance(row, _CsvRow) else line


def read_rows(file: str | Path) -> Iterator[tuple[int, Row]]:
    """Yield (line, row) for every row of a table, by the ending of its name.  Blank rows are left out.

    file: a path, or a text that may be an address.

    CSV has the columns' names in its first line; the delimiter is the one of ``, ; tab |`` that divides these most, or
    what Excel's ``sep=`` says.  JSON is a list of tables, perhaps under ``data``, ``rows``, ``images`` or
    ``annotations``; its rows have the number of their place for a line.
    Raises DataError that names the file and the line: another encoding, a quotation that does not end or is followed by
    text, a row with more or fewer cells than columns, two columns or fields of one name, no JSON table.
    """
    ending = Path(file).suffix.lower()
    if ending not in ENDINGS:
        raise DataError(f"{file} is no table that can be read; a captions file ends with {', '.join(ENDINGS)}")
    try:
        text = read_text(file)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(one_line(error)) from error
    if ending in _DELIMITERS:
        return _csv_rows(file, text)
    return _json_rows(file, text) if ending == ".json" else _json_lines(file, text)


def column_of(names: Iterable[str], wanted: str, usual: tuple[str, ...] = ()) -> str | None:
    """Return the name among a table's columns that is ``wanted``, or without it the first one of ``usual``.

    Upper and lower case are told apart only where two names differ by nothing else.  None: there is none.
    """
    names = list(names)
    for name in (wanted,) if wanted else usual:
        if name in names:
            return name
        alike = [other for other in names if other.casefold() == name.casefold()]
        if len(alike) == 1:
            return alike[0]
    return None


def _csv_rows(path: str | Path, text: str) -> Iterator[tuple[int, Row]]:
    delimiters, first = _DELIMITERS[Path(path).suffix.lower()], 0
    if said := re.match(r"sep=(.)(?:\r\n|\n|\r|$)", text):
        delimiters, text, first = said[1], text[said.end() :], 1
    delimiter = _delimiter(text, delimiters)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    began = first + 1
    try:
        names: list[str] = []
        named_in = 0
        for cells in reader:
            line, began = began, first + reader.line_num + 1
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if not names:
                names, named_in = _column_names(path, line, cells), line
                continue
            if len(cells) != len(names):
                raise DataError(
                    f"{path}, line {line} has {len(cells)} cells but line {named_in} names {len(names)} columns;"
                    " write a text with commas or quotation marks in quotation marks, and those in it twice"
                )
            if any(_NEXT_ROW.search(cell) for cell in cells):
                raise DataError(f"{path}, line {line} has a quotation that takes in the next row; end it")
            yield line, _CsvRow(zip(names, cells, strict=True), named_in)
    except csv.Error as error:
        raise DataError(
            f"{path}, line {began} cannot be read: {error}; write a text with quotation marks in quotation marks, and"
            " those in it twice"
        ) from error


def _delimiter(text: str, delimiters: str) -> str:
    """Return the delimiter that divides the first line into most cells; of equals the first."""
    header = next((line for line in lines_of(text[: 1 << 16]) if line.strip()), "")
    return max(delimiters, key=header.count)


def _column_names(path: str | Path, line: int, cells: list[str]) -> list[str]:
    names = [cell.strip("\ufeff \t") for cell in cells]
    if doubled := sorted({name for name in names if name and names.count(name) > 1}):
        raise DataError(f"{path}, line {line} names the column {shown(doubled[0])} more than once; rename one of them")
    # An unnamed column, as pandas writes its index, cannot be asked for.
    return [name or f"{UNNAMED}{number}" for number, name in enumerate(names, 1)]


def _json_lines(path: str | Path, text: str) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(lines_of(text), 1):
        if (row := plain_table(line)) is not None:
            yield number, row
        elif line := line.strip("\ufeff \t"):
            yield number, _row(path, number, parse_unique(line, f"{path}, line {number}"))


def _json_rows(path: str | Path, text: str) -> Iterator[tuple[int, Row]]:
    start = text.lstrip()
    first = start.split("\n", 1)[0].rstrip()
    if start.startswith("{") and first.endswith("}") and len(first) < len(start.rstrip()):  # JSON lines by another name
        yield from _json_lines(path, text)
        return
    value = parse_unique(text, str(path))
    if isinstance(value, Mapping):
        value = next((value[name] for name in _LISTS if isinstance(value.get(name), list)), value)
    for number, row in enumerate(_records(value), 1):
        yield number, _row(path, number, row)


def _records(value: Any) -> Iterable[Any]:
    """Return the rows of a JSON value: a list, columns as pandas writes them, or a table from names to captions."""
    if not isinstance(value, Mapping):
        return value if isinstance(value, list) else [value]
    columns = list(value.values())
    if columns and all(isinstance(column, Mapping) for column in columns):
        keys = list(columns[0])
        if all(list(column) == keys for column in columns) and keys and keys[0].isdecimal():
            return [{name: value[name][key] for name in value} for key in keys]
        return [{"image": name, **table} for name, table in value.items()]
    return [{"image": name, "caption": caption} for name, caption in value.items()]


def parse_unique(text: str, name: str) -> Any:
    """Return the value of a JSON text.  Raises DataError as ``parse_json`` does, and for two fields of one name."""
    try:
        return parse_json(text, name, unique=True)
    except ValueError as error:
        raise DataError(one_line(error)) from error


def _row(path: str | Path, number: int, row: Any) -> Row:
    if not isinstance(row, dict):
        raise DataError(f"{path}, line {number} is {shown(row)}; it must be a JSON table")
    return row
