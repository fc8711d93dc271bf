"""Rows of an evaluation on disk in chunks: an interrupted run goes on, and several processes share one.

A folder holds ``index.json``, the identity of what is computed, and ``chunk-000012.npz`` files, each whole or not
there.  Chunk c belongs to process c mod n; which process computed it, and when, changes nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EvaluationError, EvaluationSettingError
from ..files import write_whole
from ..user_arrays import names_in_npz, read_npz
from ..user_files import read_json

_MOST_INDEX = 2**24  # bytes of index.json

_NUMBERS = "biuf"  # kinds of types

SECONDS = "seconds"  # how long a chunk took; stands beside the rows and never enters a score


class ChunkStore:
    """Rows of named arrays for pictures 0 .. count - 1, ``chunk`` pictures a file.

    identity: all that the rows depend on, in plain JSON types.
    Raises EvaluationError, naming what differs, for a folder that was begun with another identity.
    """

    def __init__(self, folder: str | Path, count: int, chunk: int, identity: Mapping[str, Any]):
        if count < 1:
            raise EvaluationError(f"{folder}: there are no pictures to evaluate")
        self.folder, self.count, self.chunk = Path(folder), count, chunk
        head = json.loads(json.dumps({"count": count, "chunk": chunk, **identity}))
        self.folder.mkdir(parents=True, exist_ok=True)
        index = self.folder / "index.json"
        if index.exists():
            self._check(self._begun(index), head)
        else:
            with write_whole(index) as place:
                place.write_text(json.dumps(head, indent=2) + "\n", encoding="utf-8")

    def _begun(self, index: Path) -> dict[str, Any]:
        """Return the identity that the folder was begun with.  Raises EvaluationError for a damaged index."""
        try:
            found = read_json(index, most=_MOST_INDEX)
        except OSError as error:
            raise EvaluationError(f"{index} cannot be read: {error.strerror or error}") from None
        except ValueError as error:
            raise EvaluationError(f"{error}; name another --out, or delete the folder") from None
        if not isinstance(found, dict):
            raise EvaluationError(f"{index} is no JSON table; name another --out, or delete the folder")
        return found

    def _check(self, found: dict, wanted: dict) -> None:
        for name in dict.fromkeys((*found, *wanted)):
            if found.get(name) != wanted.get(name):
                before, now = found.get(name), wanted.get(name)
                raise EvaluationSettingError(
                    "{folder} was begun with {name} = {before!r}, not {now!r}; give another {out}, or delete it",
                    folder=self.folder,
                    name=name,
                    before=before,
                    now=now,
                )

    @property
    def num_chunks(self) -> int:
        """The number of chunks, all processes' together."""
        return -(-self.count // self.chunk)

    def pictures(self, chunk: int) -> range:
        """Return the numbers of the pictures in chunk ``chunk``; the last chunk may be shorter."""
        return range(chunk * self.chunk, min((chunk + 1) * self.chunk, self.count))

    def path(self, chunk: int) -> Path:
        """Return the file of chunk ``chunk``."""
        return self.folder / f"chunk-{chunk:06d}.npz"

    def missing(self, process_index: int = 0, process_count: int = 1) -> list[int]:
        """Return the chunks of one of several processes that are not there yet; by default all of them."""
        return [
            chunk for chunk in range(process_index, self.num_chunks, process_count) if not self.path(chunk).exists()
        ]

    def fill(
        self,
        rows: Callable[[range], Mapping[str, np.ndarray]],
        *,
        process_index: int = 0,
        process_count: int = 1,
        progress: Callable[[Iterable[int]], Iterable[int]] = iter,
    ) -> None:
        """Compute this process's missing chunks; ``rows(pictures)`` returns arrays of one row a picture."""
        for chunk in progress(self.missing(process_index, process_count)):
            begun = time.perf_counter()
            found: dict[str, Any] = dict(rows(self.pictures(chunk)))
            for name, array in found.items():
                if len(array) != len(self.pictures(chunk)):
                    raise EvaluationError(
                        f"{name} has {len(array)} rows for {len(self.pictures(chunk))} pictures of chunk {chunk}"
                    )
            found[SECONDS] = np.float64(time.perf_counter() - begun)
            with write_whole(self.path(chunk)) as place, place.open("wb") as file:
                np.savez(file, **found)

    def stream(self, name: str) -> Iterator[np.ndarray]:
        """Yield the rows of ``name``, chunk by chunk, in the order of the pictures.

        Raises EvaluationError for a chunk that is not there or cannot be read.
        """
        for chunk in range(self.num_chunks):
            yield self._read(chunk, name)

    def _read(self, chunk: int, name: str) -> np.ndarray:
        """Return an array of a chunk.  Raises EvaluationError for a chunk that is not there, damaged or lacks it."""
        shape = () if name == SECONDS else (len(self.pictures(chunk)),)
        try:
            array = read_npz(self.path(chunk), (name,))[name]
        except (OSError, ValueError, KeyError):
            array = None
        if array is None or array.dtype.kind not in _NUMBERS or array.shape[: len(shape) or None] != shape:
            raise EvaluationError(
                f"{self.path(chunk)} is not there, is damaged or lacks {name}; delete it and run again"
            )
        return array

    def all(self, name: str) -> np.ndarray:
        """Return all rows of ``name``: (count, ...)."""
        return np.concatenate(list(self.stream(name)))

    def names(self) -> list[str]:
        """Return the names of the arrays that the chunks hold."""
        try:
            return [name for name in names_in_npz(self.path(0)) if name != SECONDS]
        except (OSError, ValueError):
            raise EvaluationError(f"{self.path(0)} is not there or is damaged; delete it and run again") from None

    def pictures_per_second(self) -> float:
        """Return pictures a second of one process, without the first of several chunks, which compiled."""
        chunks = range(1 if self.num_chunks > 1 else 0, self.num_chunks)
        seconds = [float(self._read(chunk, SECONDS).sum()) for chunk in chunks]
        return sum(len(self.pictures(chunk)) for chunk in chunks) / max(sum(seconds), 1e-9)
