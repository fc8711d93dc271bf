"""Models that come with the package, by name, for a first picture without a download."""

from __future__ import annotations

from pathlib import Path

DEFAULT = "emoji"
_FOLDERS = {DEFAULT: Path(__file__).parent / "assets" / "emoji"}


def is_embedded(path: str | Path) -> bool:
    """Return True if ``path`` names an embedded model; a file or folder of that name comes first."""
    return str(path) in _FOLDERS and not Path(path).exists()


def folder_of(path: str | Path) -> Path:
    """Return the folder of the embedded model of that name; any other path as it is."""
    return _FOLDERS[str(path)] if is_embedded(path) else Path(path)
