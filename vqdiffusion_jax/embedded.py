"""Models that come with the package, by name, for a first picture without a download."""

from __future__ import annotations

from pathlib import Path

DEFAULT = "emoji"
OF_SCENES = "emoji16"  # the smaller one before it, which knows sizes, places and styles of sixteen things
_FOLDERS = {name: Path(__file__).parent / "assets" / name for name in (DEFAULT, OF_SCENES)}
NAMES = tuple(_FOLDERS)


def is_embedded(path: str | Path) -> bool:
    """Return True if ``path`` names an embedded model.

    The name wins over a folder that has it: "./emoji" is the folder, and so is a ``Path`` of it.
    """
    return str(path) in _FOLDERS and not (isinstance(path, Path) and path.exists())


def folder_of(path: str | Path) -> Path:
    """Return the folder of the embedded model of that name; any other path as it is."""
    return _FOLDERS[str(path)] if is_embedded(path) else Path(path)
