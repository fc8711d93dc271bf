"""NumPy's files that a user names, .npy and .npz: plain numbers and texts, of the size that their headers promise."""

from __future__ import annotations

import ast
import math
import os
import struct
import zipfile
from collections.abc import Collection
from os import PathLike
from typing import IO

import numpy as np

from .errors import brief, shown
from .user_archives import DAMAGED, open_archive
from .user_files import open_regular

MOST_BYTES = 1 << 28  # of arrays that take more than MOST_RATIO times their file
MOST_RATIO = 100
_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 10_000
_MOST_AXES, _LONGEST_AXIS = 32, 2**48
_MOST_EMPTY = 10**6  # items of a type that takes no bytes
_PIECE = 1 << 24
_KINDS = "biufcSUV"  # numbers, texts and bytes (bfloat16 is stored so); no objects, dates or records


def read_npy(path: str | PathLike[str]) -> np.ndarray:
    """Return the array of an .npy file.

    Raises OSError as ``open_regular`` does, and ValueError, one line that names the file, for a file that is damaged,
    holds objects, or promises more than it has.
    """
    with open_regular(path) as file:
        return _read(file, os.fstat(file.fileno()).st_size, os.fspath(path))


def read_npz(path: str | PathLike[str], names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file by name.

    names: the arrays that are wanted; those of them that are there are read, by default all.

    Raises OSError and ValueError as ``read_npy`` does, also for an archive that unpacks to far more than its size.
    """
    name, arrays = os.fspath(path), {}
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            with open_archive(file) as archive:
                wanted = {key: info for key, info in _entries(archive).items() if names is None or key in names}
                if sum(info.file_size for info in wanted.values()) > max(MOST_BYTES, MOST_RATIO * size):
                    raise ValueError("it unpacks to far more than its size")
                for key, info in wanted.items():
                    with archive.open(info) as entry:
                        arrays[key] = _read(entry, info.file_size, f"its array {brief(key, 40)}")
        except DAMAGED as error:
            raise ValueError(f"{name} is damaged or no .npz file: {brief(error)}") from error
    return arrays


def names_in_npz(path: str | PathLike[str]) -> list[str]:
    """Return the names of the arrays of an .npz file.  Raises OSError and ValueError as ``read_npz`` does."""
    with open_regular(path) as file:
        try:
            with open_archive(file) as archive:
                return list(_entries(archive))
        except DAMAGED as error:
            raise ValueError(f"{os.fspath(path)} is damaged or no .npz file: {brief(error)}") from error


def _entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    return {info.filename.removesuffix(".npy"): info for info in archive.infolist()}


def _read(stream: IO[bytes], size: int, name: str) -> np.ndarray:
    """Return the array of a stream of ``size`` bytes.  Raises ValueError that begins with ``name``."""
    dtype, shape, fortran, begin = _header(stream, name)
    total = math.prod(shape) * dtype.itemsize
    if total > size - begin:
        raise ValueError(f"{name} promises {total} bytes of numbers and has {size - begin}; it is damaged")
    if dtype.itemsize == 0 and math.prod(shape) > _MOST_EMPTY:
        raise ValueError(f"{name} holds {math.prod(shape)} empty items; it is damaged")
    numbers = np.empty(total, np.uint8)
    for start in range(0, total, _PIECE):
        piece = stream.read(min(_PIECE, total - start))
        if len(piece) != min(_PIECE, total - start):
            raise ValueError(f"{name} ends too early; it is damaged")
        numbers[start : start + len(piece)] = np.frombuffer(piece, np.uint8)
    array = numbers.view(dtype) if total else np.empty(math.prod(shape), dtype)
    return array.reshape(shape, order="F" if fortran else "C")


def _header(stream: IO[bytes], name: str) -> tuple[np.dtype, tuple[int, ...], bool, int]:
    """Return dtype, shape, whether the first axis is the innermost, and the bytes read so far."""
    begin = stream.read(8)
    wide = len(begin) == 8 and begin[6] > 1  # the length of the header takes 4 bytes, not 2
    length = stream.read(4 if wide else 2)
    if not begin.startswith(_MAGIC) or len(length) != (4 if wide else 2):
        raise ValueError(f"{name} is no array that numpy wrote")
    (count,) = struct.unpack("<I" if wide else "<H", length)
    if count > _LONGEST_HEADER:
        raise ValueError(f"{name} has a header of {count} bytes; it is damaged")
    text = stream.read(count).decode("utf-8", "replace")
    try:
        table = ast.literal_eval(text.strip())
        descr, fortran, shape = table["descr"], table["fortran_order"], table["shape"]
        dtype = np.dtype(descr) if isinstance(descr, str) else None
    except (SyntaxError, ValueError, TypeError, KeyError, MemoryError, RecursionError) as error:
        raise ValueError(f"{name} has a header that cannot be read; it is damaged") from error
    if dtype is None or dtype.kind not in _KINDS or dtype.names is not None or dtype.subdtype is not None:
        raise ValueError(f"{name} holds {shown(descr)}; plain numbers are expected")
    if not (
        isinstance(shape, tuple)
        and len(shape) <= _MOST_AXES
        and all(type(n) is int and 0 <= n < _LONGEST_AXIS for n in shape)
    ):
        raise ValueError(f"{name} has shape {shown(shape)}; it is damaged")
    if 0 in shape and math.prod(n for n in shape if n) * max(dtype.itemsize, 1) >= 2**62:
        raise ValueError(f"{name} has shape {shown(shape)}; it is damaged")
    return dtype, shape, bool(fortran), 8 + len(length) + count
