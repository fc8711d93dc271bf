"""COCO captions of 2014 or 2017: every annotation is an example, as in the reference."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError, one_line, shown
from ...user_files import read_json
from ..account import Account
from ..caption_table import captions_of_rows
from ..captions import is_missing
from ..listing import is_foreign
from ..records import Record, existing, read_bytes

YEARS = (2014, 2017)
PHASES = {"train": "train", "validation": "val"}


class Coco:
    """``annotations/captions_{phase}2014.json`` and ``{phase}2014/{phase}2014/COCO_{phase}2014_{id:012d}.jpg``.

    Images directly below ``{phase}2014``, as COCO's zip files unpack, or below ``images``, are found too, and so is
    COCO 2017, whose images are ``{phase}2017/{id:012d}.jpg``.  Of both years the captions of 2014 are read.

    Args:
      year: 2014 or 2017; 0 for the one that is there.
    """

    def __init__(self, root: Path, split: str, *, year: int = 0):
        self.phase = PHASES[split]
        if year not in (0, *YEARS):
            raise DataError(f"coco: year is {year}; allowed: 0 (the one that is there), 2014 or 2017")
        self.year, both = (year, False) if year else _year(root, self.phase)
        self.account = Account()
        if both:
            self.account.note(f"the captions of {self.year} are read; those of both years are there (options.year)")
        file = existing(_captions_file(root, self.phase, self.year), "COCO's captions")
        try:
            annotations = read_json(file)["annotations"]
            self._images = _numbers([a["image_id"] for a in annotations])
            self._captions = [a.get("caption") for a in annotations]
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise DataError(
                f"{file} is not a COCO captions file ({type(error).__name__}: {one_line(error)})"
            ) from error
        if self._captions and not any(isinstance(caption, (str, list)) for caption in self._captions):
            raise DataError(
                f"{file} has no captions; its annotations must have a field caption, as captions_*.json has"
            )
        name = f"{self.phase}{self.year}"
        places = [root / name / name, root / name, root / "images" / name]
        self._folder = next((place for place in places if place.is_dir()), places[1])
        existing(self._folder, f"COCO's images, in {places[0]}, {places[1]} or {places[2]}")
        self._tell_missing()

    def _tell_missing(self) -> None:
        """Account for images without captions, and note captions without an image."""
        there = set(os.listdir(self._folder))
        named = set(map(self._file_name, set(self._images.tolist())))
        for name in sorted(there - named):
            if name.endswith(".jpg") and not is_foreign(name):
                self.account.left_out("an image without a caption", name)
        if missing := sorted(named - there):
            self.account.note(f"{len(missing)} images that have captions are missing, for instance {missing[0]}")

    def _file_name(self, number: int) -> str:
        return f"COCO_{self.phase}2014_{number:012d}.jpg" if self.year == 2014 else f"{number:012d}.jpg"

    def __len__(self) -> int:
        return len(self._captions)

    def picture(self, index: int) -> str:
        """Return the name of the picture, which several captions share."""
        return self._file_name(int(self._images[index]))

    def __getitem__(self, index: int) -> Record:
        name = self.picture(index)
        captions = captions_of_rows([self._captions[index]], name)
        return Record(id=f"{name}#{index}", image=read_bytes(self._folder / name, name), captions=captions)

    def lacks_caption(self, index: int) -> bool:
        return is_missing(self._captions[index])


def _numbers(given: list[Any]) -> np.ndarray:
    """Return images' numbers (n,) int64.  Raises as NumPy does, and ValueError for a fraction, which it would cut."""
    if not {int, str}.issuperset(map(type, given)):
        for number in given:
            if type(number) is bool or isinstance(number, float) and not number.is_integer():
                raise ValueError(f"an image_id is {shown(number)}; it must be a whole number")
    return np.array(given, np.int64)


def _captions_file(root: Path, phase: str, year: int) -> Path:
    return root / "annotations" / _captions_name(phase, year)


def _captions_name(phase: str, year: int) -> str:
    return f"captions_{phase}{year}.json"


def _year(root: Path, phase: str) -> tuple[int, bool]:
    """Return the first year with captions of both splits, else the first with those of ``phase``, else 2014.

    Also return whether the captions of ``phase`` are there for both years.
    Splits of two years do not go together: the images for validation in 2014 are for training in 2017.
    """
    try:
        there = set(os.listdir(root / "annotations"))
    except OSError:
        there = set()
    whole = [year for year in YEARS if there.issuperset(_captions_name(p, year) for p in PHASES.values())]
    own = [year for year in YEARS if _captions_name(phase, year) in there]
    return next(iter(whole + own), YEARS[0]), len(own) == len(YEARS)
