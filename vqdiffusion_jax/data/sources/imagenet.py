"""ImageNet (ILSVRC2012)."""

from __future__ import annotations

from pathlib import Path

from ...errors import DataError
from ..records import Record, existing, read_bytes
from .image_files import image_files

PHASES = {"train": "train", "validation": "val"}


class ImageNet:
    """The images ``{train,val}/nXXXXXXXX/*.JPEG``.

    The file ``ILSVRC2012_name_{train,val}.txt``, if it exists, selects some of them.  A class is the place of its
    synset among the sorted folders of the training images, or of the split's own without those; this is the order of
    ImageNet's class index.

    Args:
      list_file: another list, relative to ``root``, with one ``nXXXXXXXX/file.JPEG`` a line.
    """

    def __init__(self, root: Path, split: str, *, list_file: str = ""):
        self._folder = existing(root / PHASES[split], "a folder of synset folders")
        listed = (
            existing(root / list_file, "a list of images")
            if list_file
            else root / f"ILSVRC2012_name_{PHASES[split]}.txt"
        )
        if listed.exists():
            self._names = [line.strip() for line in listed.read_text(encoding="utf-8").splitlines() if line.strip()]
        else:
            self._names = image_files(self._folder)
        if astray := next((name for name in self._names if "/" not in name), None):
            where = listed if listed.exists() else self._folder
            raise DataError(f"{where}: {astray} lies in no synset folder; images belong in nXXXXXXXX/ folders")
        classes = root / "train" if (root / "train").is_dir() else self._folder
        synsets = sorted(
            folder.name for folder in classes.iterdir() if folder.is_dir() and not folder.name.startswith(".")
        )
        self._classes = {synset: i for i, synset in enumerate(synsets)}
        if unknown := sorted({name.split("/")[0] for name in self._names} - self._classes.keys()):
            raise DataError(
                f"{self._folder}: {unknown[0]} is no class folder of {classes}; both must name the same synsets"
            )

    @property
    def num_classes(self) -> int:
        return len(self._classes)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Record:
        name = self._names[index]
        return Record(id=name, image=read_bytes(self._folder / name, name), label=self._classes[name.split("/")[0]])
