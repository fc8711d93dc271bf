"""Records of data sets, the arrays made of them, and the protocol of a data set."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NotRequired, Protocol, TypedDict, runtime_checkable

import numpy as np

from .. import user_files
from ..errors import BrokenRecord, DataError, printable
from ..pictures import MOST_FILE_BYTES
from ..text.known_words import KnownWords
from .account import account_of


class Record(TypedDict):
    """One example as a data set stores it."""

    id: str  # its name in messages and files, made by ``record_id``
    image: bytes | np.ndarray  # an image file's bytes, or (height, width, 1 to 4 channels) uint8
    captions: NotRequired[list[str]]  # one is chosen each time it is read
    label: NotRequired[int]


class Example(TypedDict):
    """The arrays of one record for training or evaluation: pixels or tokens, and the model's condition."""

    id: str
    images: NotRequired[np.ndarray]  # (size, size, 3) uint8; absent where there are tokens
    tokens: NotRequired[np.ndarray]  # (length,) int32, of a token cache
    text_ids: NotRequired[np.ndarray]  # (context,) int32
    text_mask: NotRequired[np.ndarray]  # (context,) bool, False for padding
    labels: NotRequired[np.int32]


class Batch(TypedDict):
    """Examples stacked on a leading batch axis."""

    ids: NotRequired[np.ndarray]  # (batch,) str
    images: NotRequired[np.ndarray]  # (batch, size, size, 3) uint8; absent where there are tokens
    tokens: NotRequired[np.ndarray]  # (batch, length) int32
    text_ids: NotRequired[np.ndarray]  # (batch, context) int32
    text_mask: NotRequired[np.ndarray]  # (batch, context) bool
    labels: NotRequired[np.ndarray]  # (batch,) int32


class Source(Protocol):
    """A data set with random access, picklable because worker processes get a copy.

    A class takes ``(root: Path, split: str, *, options...)``, where split is ``"train"`` or ``"validation"``, and
    raises DataError or FileNotFoundError if there is nothing to read.  ``source[i]`` raises BrokenRecord (or OSError)
    for a record that cannot be read.  A data set without splits has ``group(i)``: records of equal groups are held out
    together.  It may have ``lacks_caption(i)``, True for a record that is known to have no caption without reading a
    file, ``account``, an ``Account`` of what it leaves out, and ``known_words``, the ``KnownWords`` of its captions.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record: ...


@runtime_checkable
class DividedSource(Source, Protocol):
    """A data set without splits, some of whose records can be held out."""

    def group(self, index: int) -> str:
        """Return the name under which record ``index`` is held out; records of equal names go together."""
        ...


def known_words_of(source: object) -> KnownWords | None:
    """Return the words of a data set's captions, if it knows them."""
    return getattr(source, "known_words", None)


class Selection:
    """Some records of a source, by their numbers there."""

    def __init__(self, source: Source, indices: np.ndarray):
        self.source, self.indices = source, indices
        self.num_classes = getattr(source, "num_classes", None)
        self.classes = getattr(source, "classes", ())
        self.account = account_of(source)
        self.known_words = known_words_of(source)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Record:
        return self.source[int(self.indices[index])]

    def group(self, index: int) -> str:
        number = int(self.indices[index])
        return self.source.group(number) if isinstance(self.source, DividedSource) else f"example {number}"

    def lacks_caption(self, index: int) -> bool:
        lacks = getattr(self.source, "lacks_caption", None)
        return lacks is not None and lacks(int(self.indices[index]))


class HoldOut(Selection):
    """The records of a data set without splits that belong to ``split``.

    A record is held out if the hash of its group falls below ``fraction``, so it stays in its split when records are
    added or reordered.  Of a few records none may fall below; then the group of the lowest hash is held out.
    """

    def __init__(self, source: DividedSource, split: str, fraction: float):
        shares = np.fromiter((_share(source.group(i)) for i in range(len(source))), float, len(source))
        held_out = shares < fraction
        if len(shares) and not held_out.any() and not (lowest := shares == shares.min()).all():
            held_out = lowest
        super().__init__(source, np.flatnonzero(held_out == (split == "validation")))


def _share(group: str) -> float:
    # A name that is no UTF-8 has surrogates for its bytes.
    return int.from_bytes(hashlib.sha256(group.encode(errors="surrogatepass")).digest()[:7], "big") / 2**56


def record_id(name: str) -> str:
    r"""Return the id of a record with this name: printable, bytes that are no UTF-8 as ``\xff``."""
    return printable(name)


def too_many(broken: Mapping[str, str], limit: int, what: str = "broken examples") -> DataError:
    """Return an error that names what is broken, and why."""
    names = "; ".join(f"{name}: {reason}" for name, reason in broken.items())
    return DataError(
        f"{len(broken)} {what}, more than max_broken={limit}; repair or remove them, or raise the limit: {names}"
    )


def existing(path: Path, what: str) -> Path:
    """Return ``path``.  Raises FileNotFoundError, which says that ``what`` was expected, if nothing is there."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected {what}")
    return path


def read_bytes(path: str | Path, name: str) -> bytes:
    """Return a file's bytes.  Raises BrokenRecord(name) if it cannot be read."""
    try:
        return user_files.read_bytes(path, most=MOST_FILE_BYTES)
    except OSError as error:
        raise BrokenRecord(name, error.strerror or error) from error
