"""The image files of a folder, and the folder of a split."""

from __future__ import annotations

import os
from pathlib import Path

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_FOLDERS = {"train": ("train", "training"), "validation": ("validation", "val", "valid", "test")}


def image_files(root: Path) -> list[str]:
    """Return the sorted paths of all images below ``root``, relative to it and with forward slashes.

    Hidden files and folders are left out.
    """
    found = []
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        place = Path(folder).relative_to(root)
        found += [(place / f).as_posix() for f in files if f.lower().endswith(EXTENSIONS) and not f.startswith(".")]
    return sorted(found)


def split_folder(root: Path, split: str) -> tuple[Path, bool]:
    """Return (folder of the split, True) if ``root`` has folders for train and validation, else (root, False)."""
    there = {name: [root / f for f in names if (root / f).is_dir()] for name, names in _FOLDERS.items()}
    return (there[split][0], True) if all(there.values()) else (root, False)
