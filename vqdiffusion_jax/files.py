"""Writing to disk so that nothing is ever half there."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def check_empty(folder: str | Path) -> None:
    """Raise FileExistsError unless ``folder`` is absent or an empty folder."""
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not an empty folder; name one that is absent or empty")


@contextmanager
def whole_or_not_at_all(folder: str | Path) -> Iterator[Path]:
    """A new folder beside ``folder`` that takes its name when all is written and vanishes if anything fails.

    Raises FileExistsError if ``folder`` holds anything.
    """
    folder = Path(folder)
    check_empty(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    place = folder.parent / f".{folder.name}.{uuid.uuid4().hex}"
    place.mkdir()
    try:
        yield place
        place.replace(folder)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


@contextmanager
def write_whole(file: str | Path) -> Iterator[Path]:
    """A path beside ``file`` to write to; what was written takes its name at the end and vanishes if anything fails."""
    file = Path(file)
    place = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        yield place
        place.replace(file)
    except BaseException:
        place.unlink(missing_ok=True)
        raise
