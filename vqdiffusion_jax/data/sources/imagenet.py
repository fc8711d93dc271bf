"""ImageNet (ILSVRC2012)."""

from __future__ import annotations

import os
from pathlib import Path

from ...errors import DataError
from ...user_files import lines_of, read_text
from ..account import Account
from ..listing import check_names, holds_picture, is_folder, is_foreign, picture_files
from ..records import Record, existing, read_bytes, record_id
from .class_folders import numbered

PHASES = {"train": "train", "validation": "val"}


class ImageNet:
    """The images ``{train,val}/nXXXXXXXX/*.JPEG``.

    The file ``ILSVRC2012_name_{train,val}.txt``, if it exists, selects some of them.  A class is the place of its
    synset among the sorted folders of the training images, or of the split's own without those; this is the order of
    ImageNet's class index.  Folders without an image, and those that systems make, are no classes.

    Args:
      list_file: another list, relative to ``root``, with one ``nXXXXXXXX/file.JPEG`` a line.
      links_out: also read what links in ``root`` lead to outside of it.
    """

    def __init__(self, root: Path, split: str, *, list_file: str = "", links_out: bool = False):
        self.account = Account()
        self._folder = existing(root / PHASES[split], "a folder of synset folders")
        listed = (
            existing(root / list_file, "a list of images")
            if list_file
            else root / f"ILSVRC2012_name_{PHASES[split]}.txt"
        )
        if listed.exists():
            self._names = [line.strip() for line in lines_of(read_text(listed)) if line.strip()]
            check_names(self._names, listed)
            self.account.note(f"the images are those that {listed.name} lists")
        else:
            names = picture_files(root, self.account, below=[PHASES[split]], links_out=links_out)
            self._names = [name.partition("/")[2] for name in names]
        if astray := next((name for name in self._names if "/" not in name), None):
            where = listed if listed.exists() else self._folder
            raise DataError(f"{where}: {astray} lies in no synset folder; images belong in nXXXXXXXX/ folders")
        own = {name.partition("/")[0] for name in self._names}
        classes = root / "train" if (root / "train").is_dir() else self._folder
        synsets = self._synsets(classes) if classes != self._folder or listed.exists() else own
        self._classes = numbered(synsets, self.account)
        if unknown := sorted(own - self._classes.keys()):
            raise DataError(
                f"{self._folder}: {unknown[0]} is no class folder of {classes}; both must name the same synsets"
            )

    def _synsets(self, folder: Path) -> list[str]:
        """Return the folders that hold an image."""
        with os.scandir(folder) as scanned:
            found = sorted(entry.name for entry in scanned if is_folder(entry) and not is_foreign(entry.name))
        synsets = [name for name in found if holds_picture(folder / name)]
        for name in sorted(set(found) - set(synsets)):
            self.account.left_out("a class folder without an image", name)
        return synsets

    @property
    def num_classes(self) -> int:
        return len(self._classes)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, by label."""
        return tuple(self._classes)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Record:
        name = self._names[index]
        return Record(
            id=record_id(name), image=read_bytes(self._folder / name, name), label=self._classes[name.split("/")[0]]
        )
