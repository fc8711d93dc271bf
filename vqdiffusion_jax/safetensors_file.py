"""One safetensors file, read lazily: its header tells where each tensor lies, and tensors are read when asked for.

The safetensors library maps a file into memory, and a mapped file that becomes shorter ends the process.  So the
library writes here, and does not read.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from .errors import CheckpointError, brief
from .lazy_tensor import LONGEST_NAME, LazyTensor, Storage
from .user_files import open_regular, parse_json

HEADER_BYTES = 16 * 2**20  # a tensor's entry takes some 100
_METADATA = "__metadata__"
_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


@dataclass(frozen=True)
class SafetensorsFile:
    """The tensors of a file by name, and the texts beside them."""

    tensors: dict[str, LazyTensor]
    metadata: dict[str, str]


def read_safetensors(path: str | Path) -> SafetensorsFile:
    """Return what a file holds, of which nothing but the header has been read.

    Raises CheckpointError, one line, if it is no whole safetensors file or has tensors of an unknown dtype.
    """
    path = Path(path)
    try:
        header, start, size = _header(path)
        metadata = header.pop(_METADATA, {})
        if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
            raise ValueError("its metadata are no texts")
        places = {name: _place(name, entry) for name, entry in header.items()}
        _check_cover(places, size - start)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except (OSError, ValueError, MemoryError) as error:
        detail = brief(getattr(error, "strerror", None) or error)
        raise CheckpointError(f"{path} is not a whole safetensors file ({detail}); fetch it again") from None
    tensors = {}
    for name, (kind, shape, begin, end) in places.items():
        if kind not in _DTYPES:
            raise CheckpointError(f"{path}: {brief(name, 80)} has dtype {brief(kind)}; supported: {', '.join(_DTYPES)}")
        if len(name) > LONGEST_NAME or not name.isprintable():
            raise CheckpointError(f"{path} names a tensor {brief(name, 80)}; fetch it again")
        dtype = np.dtype(_DTYPES[kind])
        if math.prod(shape) * dtype.itemsize != end - begin:
            raise CheckpointError(
                f"{path}: {brief(name, 80)} of shape {brief(shape)} and {kind} has {end - begin} bytes; fetch it again"
            )
        strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
        try:
            storage = Storage(path, start + begin, end - begin, dtype)
            tensors[name] = LazyTensor(storage, dtype, 0, shape, strides)
        except ValueError as error:
            raise CheckpointError(f"{path}: {brief(name, 80)}: {error}; fetch it again") from None
    return SafetensorsFile(tensors, metadata)


def _header(path: Path) -> tuple[dict[str, Any], int, int]:
    """Return the header's table, where the tensors begin, and the file's size."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if length > min(HEADER_BYTES, size - 8):
            raise ValueError(f"its header takes {length} bytes")
        text = file.read(length)
    header = parse_json(text.decode("utf-8"), "its header", unique=True)
    if not isinstance(header, dict):
        raise ValueError("its header is no table")
    return header, 8 + length, size


def _place(name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """Return the dtype's name, the shape, and where the bytes of a tensor begin and end."""
    entry = entry if isinstance(entry, dict) else {}
    kind, shape, offsets = (entry.get(field) for field in ("dtype", "shape", "data_offsets"))
    lists = isinstance(shape, list) and isinstance(offsets, list) and len(offsets) == 2
    if not (isinstance(kind, str) and lists and all(type(n) is int and n >= 0 for n in (*shape, *offsets))):
        raise ValueError(f"{brief(name, 80)} lacks a dtype, a shape or data_offsets")
    return kind, tuple(shape), offsets[0], offsets[1]


def _check_cover(places: dict[str, tuple[str, tuple[int, ...], int, int]], size: int) -> None:
    """Raise ValueError unless the tensors lie one behind the other and fill ``size`` bytes, as the format asks."""
    at = 0
    for name, (_, _, begin, end) in sorted(places.items(), key=lambda item: item[1][2:]):
        if begin != at or end < begin:
            raise ValueError(f"{brief(name, 80)} lies at bytes {begin} to {end}, where {at} is next")
        at = end
    if at != size:
        raise ValueError(f"its tensors take {at} bytes of {size}")
