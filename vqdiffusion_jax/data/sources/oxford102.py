"""Oxford-102 flowers, with labels, captions or both, as its files allow."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ...errors import DataError, one_line
from ...user_files import open_regular
from ..account import Account
from ..listing import picture_files
from ..records import Record, existing, read_bytes, record_id
from .folder import read_lines

_MOST_MAT = 2**18  # bytes; the largest of the data set's has 15,000, and they are packed
_CAPTIONS = ("text_c10", "captions", "text")


class Oxford102:
    """The images ``jpg/image_XXXXX.jpg``.

    Classes come from ``imagelabels.mat``, and ten captions an image from ``image_XXXXX.txt`` anywhere below
    ``text_c10``, ``captions`` or ``text``.  The ``valid`` images of ``setid.mat`` are the validation split and all
    others the training split; without this file the data set has no splits.  Reading .mat files needs scipy.
    """

    def __init__(self, root: Path, split: str):
        self._folder = existing(root / "jpg", "Oxford-102's images")
        self.account = Account()
        self._names = picture_files(self._folder, self.account)
        numbers = [_number(name) for name in self._names]
        texts = next((root / name for name in _CAPTIONS if (root / name).is_dir()), None)
        self._texts = None if texts is None else {path.stem: path for path in texts.rglob("image_*.txt")}
        labels = _mat(root / "imagelabels.mat", "labels")
        if labels is not None and numbers and max(numbers) > len(labels):
            raise DataError(
                f"{root / 'imagelabels.mat'} has {len(labels)} labels but there is an image number {max(numbers)}"
            )
        self._labels = None if labels is None else labels[np.array(numbers, int) - 1].astype(int) - 1
        held_out = _mat(root / "setid.mat", "valid")
        self.has_splits = held_out is not None
        if held_out is not None:
            keep = np.flatnonzero(np.isin(numbers, held_out) == (split == "validation"))
            self._names = [self._names[i] for i in keep]
            self._labels = None if self._labels is None else self._labels[keep]

    @property
    def num_classes(self) -> int | None:
        return None if self._labels is None else 102

    def __len__(self) -> int:
        return len(self._names)

    def group(self, index: int) -> str:
        return self._names[index]

    def __getitem__(self, index: int) -> Record:
        name = self._names[index]
        record = Record(id=record_id(name), image=read_bytes(self._folder / name, name))
        if self._texts is not None:
            path = self._texts.get(Path(name).stem)
            record["captions"] = [] if path is None else read_lines(path, name)
        if self._labels is not None:
            record["label"] = int(self._labels[index])
        return record


def _number(name: str) -> int:
    match = re.fullmatch(r"image_(\d+)\.jpg", name)
    if match is None or not int(match[1]):
        raise DataError(f"jpg/{name} is not named as Oxford-102's images are, image_00001.jpg")
    return int(match[1])


def _mat(path: Path, variable: str) -> np.ndarray | None:
    """Return one variable of a MATLAB file, flattened; None if the file does not exist."""
    if not path.exists():
        return None
    try:
        from scipy.io import loadmat
    except ImportError:
        raise DataError(
            f"{path} needs scipy to be read; install it with pip install scipy, or move the file away"
        ) from None
    try:
        with open_regular(path, most=_MOST_MAT) as file:
            values = np.asarray(loadmat(file, variable_names=[variable])[variable]).ravel()
        if values.dtype.kind not in "iuf":
            raise ValueError(f"it holds {values.dtype}, no numbers")
        return values
    except Exception as error:  # scipy's parser raises errors of many classes
        raise DataError(
            f"{path} holds no variable {variable!r} that can be read ({type(error).__name__}: {one_line(error)})"
        ) from error
