"""COCO 2014 captions: every annotation is an example, as in the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import DataError, one_line
from ...user_files import read_json
from ..caption_table import captions_of_rows
from ..captions import is_missing
from ..records import Record, existing, read_bytes

PHASES = {"train": "train", "validation": "val"}


class Coco:
    """``annotations/captions_{phase}2014.json`` and ``{phase}2014/{phase}2014/COCO_{phase}2014_{id:012d}.jpg``.

    Images directly below ``{phase}2014``, as COCO's zip files unpack, are found too.
    """

    def __init__(self, root: Path, split: str):
        self.phase = PHASES[split]
        file = existing(root / "annotations" / f"captions_{self.phase}2014.json", "COCO's captions")
        try:
            annotations = read_json(file)["annotations"]
            self._images = np.array([a["image_id"] for a in annotations], np.int64)
            self._captions = [a.get("caption") for a in annotations]
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise DataError(
                f"{file} is not a COCO captions file ({type(error).__name__}: {one_line(error)})"
            ) from error
        if self._captions and not any(isinstance(caption, str) for caption in self._captions):
            raise DataError(
                f"{file} has no captions; its annotations must have a field caption, as captions_*.json has"
            )
        folder = root / f"{self.phase}2014"
        nested = folder / folder.name
        self._folder = nested if nested.is_dir() else existing(folder, f"COCO's images, in {nested} or directly in it")

    def __len__(self) -> int:
        return len(self._captions)

    def picture(self, index: int) -> str:
        """Return the name of the picture, which several captions share."""
        return f"COCO_{self.phase}2014_{self._images[index]:012d}.jpg"

    def __getitem__(self, index: int) -> Record:
        name = self.picture(index)
        captions = captions_of_rows([self._captions[index]], name)
        return Record(id=f"{name}#{index}", image=read_bytes(self._folder / name, name), captions=captions)

    def lacks_caption(self, index: int) -> bool:
        return is_missing(self._captions[index])
