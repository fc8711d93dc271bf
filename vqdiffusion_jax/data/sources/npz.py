"""Small pictures in one array of an .npz file, with a captions.jsonl of one line a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import DataError
from ..records import Record
from .folder import read_rows


class Npz:
    """The array ``images`` (n, height, width, 3) uint8 of ``root``, a file or a folder with one .npz.

    A fourth channel is alpha; such pictures are shown on white.

    Args:
      captions: a .jsonl file beside the array, with one line a picture; ``""`` for none.
      caption_template: a caption in terms of a line's fields, for instance ``"{caption}, {style_word}"``.
      label_field: the field whose sorted values are the classes.
      group_field: records of equal values in this field are held out together, for instance two drawings of one thing.
    """

    has_splits = False

    def __init__(
        self,
        root: Path,
        split: str,
        *,
        captions: str = "captions.jsonl",
        caption_template: str = "{caption}",
        label_field: str = "",
        group_field: str = "",
    ):
        self._path = root if root.is_file() else _only(root)
        self._images = self._load()
        rows = []
        if captions:
            file = self._path.parent / captions
            if not file.exists():
                raise FileNotFoundError(f"{file} does not exist; expected one line a picture, or set captions to ''")
            rows = [row for _, row in read_rows(file)]
            if len(rows) != len(self._images):
                raise DataError(
                    f"{file} has {len(rows)} lines but {self._path} has {len(self._images)} images;"
                    " it must have one a picture"
                )
        elif label_field or group_field:
            raise DataError("npz: label_field and group_field are fields of the captions file, but captions is ''")
        try:
            self._captions = [caption_template.format_map(row) for row in rows]
            names = [row[label_field] for row in rows] if label_field else []
            self._groups = [str(row[group_field]) for row in rows] if group_field else None
        except (KeyError, ValueError, IndexError) as error:
            raise DataError(
                f"{self._path.parent / captions} has no field {error}; it has {', '.join(rows[0])}"
            ) from error
        self._classes = {name: i for i, name in enumerate(sorted(set(names)))}
        self._labels = [self._classes[name] for name in names]

    def _load(self) -> np.ndarray:
        try:
            with np.load(self._path, allow_pickle=False) as arrays:
                images = arrays["images"]
        except (KeyError, ValueError, OSError) as error:
            raise DataError(f"{self._path} holds no array 'images' that can be read ({error})") from error
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (3, 4):
            raise DataError(
                f"{self._path}: images is {images.dtype} {images.shape};"
                " it must be uint8 (n, height, width, 3) or (.., 4)"
            )
        return images

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_images": None}  # worker processes read the file, which is cheaper than sending it

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._images = self._load()

    @property
    def num_classes(self) -> int | None:
        return len(self._classes) or None

    def __len__(self) -> int:
        return len(self._images)

    def group(self, index: int) -> str:
        return self._groups[index] if self._groups else str(index)

    def __getitem__(self, index: int) -> Record:
        image = self._images[index]
        if image.shape[-1] == 4:
            image = on_white(image)
        record = Record(id=f"{self._path.name}[{index}]", image=image)
        if self._captions:
            record["captions"] = [self._captions[index]]
        if self._labels:
            record["label"] = self._labels[index]
        return record


def _only(folder: Path) -> Path:
    files = sorted(folder.glob("*.npz"))
    if len(files) != 1:
        raise DataError(f"{folder} has {len(files)} .npz files; name one as root")
    return files[0]


def on_white(image: np.ndarray) -> np.ndarray:
    """Return (height, width, 4) uint8 with straight alpha as (height, width, 3) uint8 on white."""
    colour, alpha = image[..., :3].astype(np.uint16), image[..., 3:].astype(np.uint16)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
