"""The captions of a folder's pictures, from a table that names the pictures."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import BrokenRecord, DataError, first_of, shown
from ..user_files import fault_of_text
from .account import Account
from .captions import captions_in, field_of, is_missing
from .tables import Row, column_of, line_of_names, read_rows

IMAGE_COLUMNS = ("image", "file_name", "filename", "file", "image_file", "image_path", "image_name", "path", "img")
CAPTION_COLUMNS = ("caption", "captions", "text", "sentence", "sentences", "description", "prompt", "alt_text", "txt")


def read_captions(
    path: Path,
    image_field: str,
    caption_field: str,
    account: Account | None = None,
    splits: dict[str, str] | None = None,
) -> dict[str, list[Any]]:
    """Return a dict from a picture's path, relative to the table's folder, to what its rows hold as captions.

    ``captions_of_rows`` makes captions of the values, so that one row that holds none refuses no other.
    image_field, caption_field: columns; by default the first of the usual names that the table has.  A path such as
    ``"caption.en"`` leads into tables.
    account: takes the rows that name no picture.
    splits: takes the value of the column ``split`` for each picture of a row that has one.
    Raises DataError that names file and line: as ``read_rows``, for a table without these columns, and for a picture
    that two rows put in different splits.
    """
    captions: dict[str, list[Any]] = {}
    found, lacks, folder = False, None, path.parent
    columns, paths = None, {}
    image = caption = ""
    split = None
    for line, row in read_rows(path):
        if (names := tuple(row)) != columns:  # nearly all rows of a table have the same
            columns = names
            image = column_of(columns, image_field, IMAGE_COLUMNS) or image_field or IMAGE_COLUMNS[0]
            caption = column_of(columns, caption_field, CAPTION_COLUMNS) or caption_field or CAPTION_COLUMNS[0]
            split = None if splits is None else column_of(columns, "split")
        picture = row[image] if image in row else field_of(row, image)
        value = row[caption] if caption in row else field_of(row, caption)
        if not captions and picture is None and image not in row:
            raise _lacks(path, line, image, row)
        if account is not None and not captions and not caption_field and (unread := note_of_others(row, caption)):
            account.note(unread)
        if value is None and caption not in row:  # some exporters leave a missing value out of its row
            lacks = lacks or _lacks(path, line, caption, row)
        else:
            found = True
        if not isinstance(picture, str) or not picture.strip():
            if account is not None:
                account.left_out("rows of a captions file that name no picture", f"{path.name}, line {line}")
            continue
        if (name := paths.get(picture)) is None:
            if (fault := fault_of_text(picture)) is not None:
                raise DataError(f"{path}, line {line} names the picture {shown(picture)}, whose name has {fault}")
            name = paths[picture] = relative_path(picture.strip(), folder)
            captions.setdefault(name, [])
        captions[name].append(value)
        if splits is not None and split is not None:
            _add_split(splits, name, row[split], f"{path}, line {line}")
    if lacks is not None and not found:
        raise lacks
    return captions


def _add_split(splits: dict[str, str], name: str, told: Any, where: str) -> None:
    value = "" if is_missing(told) else str(told)
    splits[name] = splits.get(name) or value  # it may stand in one row of a picture alone
    if value and splits[name] != value:
        raise DataError(
            f"{where} has {shown(name)} in the split {shown(value)}, an earlier line in {shown(splits[name])};"
            " a picture belongs to one split"
        )


def note_of_others(names: Iterable[str], chosen: str) -> str:
    """Return a sentence about further columns whose names are usual ones of captions; "" if there is none."""
    others = [name for name in names if name != chosen and name.casefold() in CAPTION_COLUMNS]
    return f"captions are the column {chosen}; {first_of(others)} may hold captions too, not read" if others else ""


def captions_of_rows(values: list[Any], name: str) -> list[str]:
    """Return the captions of one picture's rows, perhaps none.  Raises BrokenRecord(name) for what is no caption."""
    try:
        return [caption for value in values for caption in captions_in(value, table=True)]
    except ValueError as error:
        raise BrokenRecord(name, error) from error


def relative_path(picture: str, folder: Path) -> str:
    """Return a picture's path with forward slashes, relative to the folder if it lies there."""
    if "/" not in picture and "\\" not in picture:
        return picture
    if "\\" in picture and not os.path.lexists(folder / picture):  # as Windows writes paths
        picture = picture.replace("\\", "/")
    path = os.path.normpath(picture)
    if not os.path.isabs(path):
        return path
    root = os.path.abspath(folder)
    return os.path.relpath(path, root) if path.startswith(root + os.sep) else path


def _lacks(path: Path, line: int, field: str, row: Row) -> DataError:
    there = first_of([str(name) for name in row], 20) or "nothing"
    return DataError(f"{path}, line {line_of_names(row, line)} has no field {field!r}; it has {there}")
