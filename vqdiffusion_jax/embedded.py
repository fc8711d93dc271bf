"""Models that come with the package, by name, so that nothing need be downloaded to draw a first picture."""

from __future__ import annotations

from pathlib import Path

DEFAULT = "emoji"
_FOLDERS = {DEFAULT: Path(__file__).parent / "assets" / "emoji"}


def is_embedded(path: str | Path) -> bool:
    """Whether ``path`` is the name of an embedded model; a file or folder of that name comes first."""
    return str(path) in _FOLDERS and not Path(path).exists()


def folder_of(path: str | Path) -> Path:
    """The folder of the embedded model of that name; any other path as it is."""
    return _FOLDERS[str(path)] if is_embedded(path) else Path(path)
