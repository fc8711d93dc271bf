"""The reference of a comparison: real pictures of a protocol's data set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ..data.config import DataConfig
from ..data.examples import cut, decoded, read_record
from ..data.records import Source
from ..data.sources import open_source
from ..errors import BrokenRecord, EvaluationError
from .protocol import Protocol

PICTURES_STREAM = 0  # of a protocol's seed; ``subjects`` has another


def open_reference(protocol: Protocol, root: str | Path) -> Source:
    """Return the reference split of a protocol's data set at ``root``.  Raises DataError or FileNotFoundError."""
    config = DataConfig(
        source=protocol.source,
        root=str(root),
        options=dict(protocol.source_options),
        validation_fraction=protocol.validation_fraction,
    )
    return open_source(config, protocol.reference_split)


def reference_indices(source: Source, protocol: Protocol) -> np.ndarray:
    """Return the indices of the records that are the reference pictures, ascending unless they are oversampled.

    A picture that several captions share (``source.picture``) counts once.
    """
    pictures = np.arange(len(source))
    if (picture := getattr(source, "picture", None)) is not None:
        first: dict = {}
        for index in range(len(source)):
            first.setdefault(picture(index), index)
        pictures = np.fromiter(first.values(), np.int64)
    wanted = protocol.num_reference or len(pictures)
    if wanted <= len(pictures):
        rng = np.random.default_rng((protocol.seed, PICTURES_STREAM))
        return pictures[np.sort(rng.choice(len(pictures), wanted, replace=False))]
    return pictures[np.arange(wanted) % len(pictures)]


def read_pictures(
    source: Source, indices: Iterable[int], size: int | None, *, remedy: str = "remove it, or resize it"
) -> np.ndarray:
    """Return records ``indices`` as (n, height, width, 3) uint8: central crops of ``size``, or uncropped if None.

    remedy: the advice about a picture of another size.
    Raises EvaluationError naming a record that cannot be read or whose picture is of another size.
    """
    pictures, names = [], []
    for index in indices:
        try:
            record = read_record(source, int(index))
            pictures.append(np.asarray(decoded(record)) if size is None else cut(record, size, None))
        except BrokenRecord as error:
            raise EvaluationError(f"a reference picture cannot be used: {error}") from error
        names.append(record["id"])
    return _stacked(pictures, names, remedy)


def _stacked(pictures: Sequence[np.ndarray], names: Sequence[str], remedy: str) -> np.ndarray:
    for picture, name in zip(pictures, names, strict=True):
        if picture.shape != pictures[0].shape:
            size, first = (f"{shape[1]} x {shape[0]}" for shape in (picture.shape, pictures[0].shape))
            raise EvaluationError(
                f"{name} is {size} where {names[0]} is {first}; all pictures must be of one size; {remedy}"
            )
    return np.stack(pictures)
