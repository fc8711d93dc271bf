"""Tensors in files: their shapes are known, and their numbers are read when they are asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import CheckpointError, shown
from .user_files import open_regular

REPEATED_BYTES = 64 * 2**20  # the largest tensor that may repeat fewer stored bytes (torch.Tensor.expand)
MOST_AXES = 32
LONGEST_NAME = 1_000  # characters of a tensor's name
LONGEST = 2**48  # numbers along an axis


@dataclass(frozen=True)
class Storage:
    """A run of bytes: ``size`` bytes at ``start`` of the file ``path``, or ``data`` where they had to be unpacked."""

    path: Path
    start: int
    size: int
    dtype: np.dtype | None  # None: untyped
    data: bytes | None = None

    def read(self, start: int, size: int) -> np.ndarray:
        """Return ``size`` bytes from ``start`` on, read-only.

        They are read and not mapped: a mapped file that becomes shorter, or whose disk goes away, ends the process.
        Raises CheckpointError if the file has become shorter, or cannot be read any more.
        """
        if size == 0:
            return np.empty(0, np.uint8)
        if self.data is not None:
            return np.frombuffer(self.data, np.uint8, size, start)
        try:
            with open_regular(self.path) as file:
                data = np.fromfile(file, np.uint8, size, offset=self.start + start)
        except OSError as error:
            raise CheckpointError(f"{self.path} could not be read on: {error.strerror or error}") from error
        if data.size < size:
            raise CheckpointError(f"{self.path} became shorter while it was read; load it again when it is whole")
        data.flags.writeable = False
        return data


class LazyTensor:
    """A strided view into a ``Storage``, as PyTorch describes it; ``numpy.asarray`` reads it.

    Raises:
        ValueError: if the view reaches outside the storage.
        CheckpointError: when read, if it repeats what is stored to more than REPEATED_BYTES.
    """

    def __init__(
        self, storage: Storage, dtype: np.dtype | None, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> None:
        counts = (offset, *shape, *strides)
        fits = dtype is not None and len(shape) == len(strides) <= MOST_AXES
        if not (fits and all(type(n) is int and 0 <= n < LONGEST for n in counts)):
            about = ", ".join(map(shown, (offset, shape, strides)))
            raise ValueError(f"a tensor has offset, shape and strides {about} and dtype {dtype}, which cannot be")
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.storage, self._offset, self._strides = storage, offset, strides
        self._extent = 1 + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) if self.size else 0
        if (offset + self._extent) * self.dtype.itemsize > storage.size:
            raise ValueError(f"a tensor of shape {shape} reaches beyond the {storage.size} bytes stored for it")

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        item = self.dtype.itemsize
        if self.nbytes > max(self.storage.size, REPEATED_BYTES):
            raise CheckpointError(
                f"{self.storage.path}: a tensor of shape {self.shape} spreads {self.storage.size} stored bytes over "
                f"{self.nbytes}; it is no weight, so the file is refused"
            )
        flat = self.storage.read(self._offset * item, self._extent * item).view(self.dtype)
        array = np.lib.stride_tricks.as_strided(flat, self.shape, [s * item for s in self._strides], writeable=False)
        return np.array(array, dtype=dtype) if copy or (dtype is not None and dtype != self.dtype) else array

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        """Return a part, a slice with step 1 an axis; rows that it leaves out are not read."""
        first, last, _ = index[0].indices(self.shape[0])
        shape = (max(last - first, 0), *self.shape[1:])
        rows = LazyTensor(self.storage, self.dtype, self._offset + first * self._strides[0], shape, self._strides)
        return np.asarray(rows)[(slice(None), *index[1:])]

    def __repr__(self) -> str:
        return f"LazyTensor({self.shape}, {self.dtype})"
