"""Tables in --prompts_file: a row a picture, a column a setting."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.tables import ENDINGS, UNNAMED, line_of_names, read_rows
from ..data.tables import Row as Cells
from ..errors import DataError, StorageError, UsageError, one_line, shown
from ..pictures import EXTENSIONS
from ..recipe import PICTURES
from ..sampling.settings import all_settings
from ..storage.addresses import folder_of, joined
from ..user_files import fault_of_text
from . import setting_flags
from .animation import FORMATS

FILE_NAME = "file_name"
_LONGEST_NAME = 200  # bytes of UTF-8, within what every file system allows
_NEAREST = {"text": "prompt", "caption": "prompt", "cfg": "guidance_scale", "name": FILE_NAME, "file": FILE_NAME}


@dataclass(frozen=True)
class Row:
    """A row of a table.

    line: its number in the file.  fields: settings, of the cells that are not blank.  name: of the picture's files,
    without an ending, or None.
    """

    line: int
    fields: dict[str, Any]
    name: str | None


def is_table(file: str) -> bool:
    """Return whether a file is a table by the ending of its name."""
    return Path(file).suffix.lower() in ENDINGS


def read_table(file: str) -> list[Row]:
    """Return the rows of a table whose columns are settings, and perhaps file_name.

    Paths in it are relative to its folder.  Raises UsageError, one line with file and line, for what is no table, for
    an unknown column, and for a cell that cannot be used.
    """
    try:
        rows = [_row(file, line, cells) for line, cells in read_rows(file)]
    except ValueError as error:
        if isinstance(error, DataError | StorageError):
            raise UsageError(f"--prompts_file={one_line(error)}") from error
        raise
    if not rows:
        raise UsageError(f"--prompts_file={file} holds no row; write one a picture, with a column prompt")
    return rows


def place(file: str, line: int) -> str:
    """Return a row's place as messages begin with it."""
    return f"--prompts_file={file}, line {line}"


def _row(file: str, line: int, cells: Cells) -> Row:
    known = [*setting_flags.typed(), FILE_NAME]
    fields: dict[str, Any] = {}
    named: set[str] = set()
    for column, value in cells.items():
        name = column.strip().casefold()
        if name not in known:
            raise UsageError(f"{place(file, line_of_names(cells, line))}: {_unknown(column, name, known)}")
        if name in named:
            raise UsageError(f"{place(file, line_of_names(cells, line))}: {name} stands there twice; leave one out")
        named.add(name)
        if value is None or isinstance(value, str) and not value.strip():
            continue
        try:
            fields[name] = _file_name(value) if name == FILE_NAME else _value(file, name, value)
        except ValueError as error:
            raise UsageError(f"{place(file, line)}: {name} is {shown(value)}; {error}") from error
    return Row(line, {name: value for name, value in fields.items() if name != FILE_NAME}, fields.get(FILE_NAME))


def _value(file: str, name: str, value: Any) -> Any:
    """Return a cell as the setting ``name`` takes it; a text is read as that of its flag."""
    if name in PICTURES:
        if not isinstance(value, str):
            raise ValueError("it must be the path of a picture")
        return joined(folder_of(file), value)
    about = all_settings().get(name)
    if about is not None and about.repeated and isinstance(value, list):
        if len(value) != 1:
            raise ValueError("it must be one value; write a row for each picture")
        value = value[0]
    return setting_flags.of_text(name, value) if isinstance(value, str) else value


def _file_name(value: Any) -> str:
    """Return the name of a picture's files without its ending.  Raises ValueError for one that cannot be written."""
    if not isinstance(value, str):
        raise ValueError("it must be a text")
    stem, ending = (value[:-4], ".png") if value.lower().endswith(".png") else (value, "")
    other = Path(value).suffix.lower()
    if not ending and other in (*EXTENSIONS, ".json", *(f".{form}" for form in FORMATS)):
        raise ValueError(f"pictures are written as PNG; name it {Path(value).stem}.png")
    fault = fault_of_text(stem)
    if fault is not None or any(mark in stem for mark in '/\\:*?"<>|') or not stem.isprintable():
        raise ValueError("it must be a file's name without folders and special characters")
    if not stem.strip() or stem.startswith((".", "grid-")) or len(stem.encode()) > _LONGEST_NAME:
        raise ValueError(f"it must have 1 to {_LONGEST_NAME} bytes, and not begin with a dot or 'grid-'")
    return stem


def _unknown(column: str, name: str, known: list[str]) -> str:
    """Return what is said of an unknown column, and what to write in its place."""
    if column.startswith(UNNAMED):
        return f"column {column.removeprefix(UNNAMED)} has no name; leave it out (of pandas: index=False), or name it"
    former = {about.formerly: today for today, about in all_settings().items() if about.formerly}
    near = [(former | _NEAREST).get(name), *difflib.get_close_matches(name, known, n=1)]
    found = next((one for one in near if one), None)
    hint = f"did you mean {found}?" if found else "a column is file_name, or a setting that --help lists"
    return f"there is no column {shown(column)}; {hint}"
