"""PyTorch files without PyTorch: ``torch.save`` and TorchScript archives, memory-mapped; nothing in them is executed.

Both are zip archives of one pickle (``data.pkl``) and one uncompressed entry a storage (``data/0``, ``data/1``, ...),
so a tensor is a strided view of the file.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import CheckpointError
from .lazy_tensor import LazyTensor, Storage
from .safe_pickle import Inert, SafeUnpickler

# Limits of what a file may unpack to: PyTorch compresses nothing, and repacked weights hardly shrink.
PICKLE_BYTES = 256 * 2**20
UNPACKED_BYTES = 64 * 2**20
UNPACKED_RATIO = 20

_ZIP = b"PK\x03\x04"
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the magic number that begins a file from before PyTorch 1.6
_CORRUPT = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
    OverflowError,
    MemoryError,
    RecursionError,
    NotImplementedError,
    RuntimeError,
    AssertionError,
    ImportError,
    OSError,
)


def open_checkpoint(path: str | Path) -> Any:
    """Return what ``torch.load`` or ``torch.jit.load`` would, with LazyTensor for tensors, ``Inert`` for other objects.

    Raises:
        CheckpointError: one line, if the file is absent, truncated, corrupt, hostile or of another kind.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f"{path} is a directory; give a .pth, .pt or .ckpt file")
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
    if head.startswith(_LEGACY):
        return _open_legacy(path)
    if not head.startswith(_ZIP):
        raise CheckpointError(f"{path} {_what_else(head)}")
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(path, archive)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except zipfile.BadZipFile as error:
        raise CheckpointError(
            f"{path} is truncated or corrupt ({_line(error)}); if it was released in parts, join them in order, else "
            "download it again"
        ) from None
    except _CORRUPT as error:
        raise CheckpointError(f"{path} is corrupt ({_line(error)}); download it again") from None


def state_dict(tree: Any) -> dict[str, LazyTensor]:
    """Return the tensors in a tree of mappings or TorchScript modules by dotted name, in file order."""
    try:
        return dict(_tensors(tree, ""))
    except RecursionError:
        raise CheckpointError("the checkpoint contains itself; it was not written by PyTorch") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"the checkpoint's names are not those of tensors ({_line(error)}); it was not written by PyTorch"
        ) from None


def weights_of(tree: Any) -> dict[str, LazyTensor]:
    """Return the tensors of a file's ``state_dict`` or ``model``, or of the whole file if it has neither."""
    if isinstance(tree, Mapping):
        tree = next((tree[name] for name in ("state_dict", "model") if isinstance(tree.get(name), Mapping)), tree)
    return state_dict(tree)


def _tensors(node: Any, name: str) -> Iterator[tuple[str, LazyTensor]]:
    if isinstance(node, LazyTensor):
        yield name, node
    children = node.attributes if isinstance(node, Inert) else node
    if isinstance(children, Mapping):
        for key, child in children.items():
            yield from _tensors(child, f"{name}.{key}" if name else str(key))


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _what_else(head: bytes) -> str:
    text = head.lstrip().lower()
    if not head:
        return "is empty; download it again"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not a checkpoint; the download link did not lead to the file"
    if text.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the checkpoint; fetch the file itself (git lfs pull)"
    return "is not a checkpoint saved by PyTorch; give a .pth, .pt or .ckpt file"


def _read(path: Path, archive: zipfile.ZipFile) -> Any:
    entries = {info.filename: info for info in archive.infolist()}
    pickles = sorted((name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")), key=len)
    if not pickles:
        raise CheckpointError("it is a zip archive without data.pkl, so not a checkpoint saved by PyTorch")
    _check_sizes(archive, entries[pickles[0]], path.stat().st_size)
    root = pickles[0].removesuffix("data.pkl")
    order = archive.read(root + "byteorder") if root + "byteorder" in entries else b"little"
    if order.strip() != b"little":
        raise CheckpointError("it was saved on a big-endian machine; save it again on a little-endian one")
    storages: dict[tuple[str, Any], Storage] = {}

    def storage(key: str, dtype: np.dtype | None, count: int) -> Storage:
        if (key, dtype) not in storages:
            info = entries.get(f"{root}data/{key}")
            if info is None:
                raise CheckpointError(f"it lacks the storage data/{key}; it is truncated or was repacked")
            found = _locate(path, archive, info, dtype)
            if count * (dtype.itemsize if dtype is not None else 1) > found.size:
                raise CheckpointError(
                    f"its storage data/{key} holds {found.size} bytes where {count} numbers are promised"
                )
            storages[key, dtype] = found
        return storages[key, dtype]

    return SafeUnpickler(archive.read(pickles[0]), storage).load()


def _check_sizes(archive: zipfile.ZipFile, pickled: zipfile.ZipInfo, size: int) -> None:
    """Raise CheckpointError for an archive that was made to fill memory."""
    if pickled.file_size > PICKLE_BYTES:
        raise CheckpointError(
            f"its data.pkl takes {pickled.file_size} bytes, far more than a list of weights takes; refused"
        )
    unpacked = sum(info.file_size for info in archive.infolist() if info.compress_type != zipfile.ZIP_STORED)
    if unpacked > UNPACKED_BYTES + UNPACKED_RATIO * size:
        raise CheckpointError(f"it unpacks {size} bytes to {unpacked}, as weights never do; refused")


def _locate(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, dtype: np.dtype | None) -> Storage:
    """Return an entry's bytes in the file; they begin behind its local header, whose padding the directory lacks."""
    if info.compress_type != zipfile.ZIP_STORED:
        data = archive.read(info)
        return Storage(path, 0, len(data), dtype, data)
    file = archive.fp
    assert file is not None, "the archive is open"
    file.seek(info.header_offset)
    header = file.read(30)
    if len(header) < 30 or not header.startswith(_ZIP):
        raise zipfile.BadZipFile(f"no entry where {info.filename} should begin")
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    if file.read(name_length) != info.orig_filename.encode():
        raise zipfile.BadZipFile(f"another entry where {info.filename} should begin")
    start = info.header_offset + 30 + name_length + extra_length
    if start + info.file_size > path.stat().st_size or info.compress_size != info.file_size:
        raise zipfile.BadZipFile(f"{info.filename} reaches beyond the end of the file")
    return Storage(path, start, info.file_size, dtype)


def _open_legacy(path: Path) -> Any:
    """Open a file from before PyTorch 1.6, which is no archive, with PyTorch's own weights-only loader."""
    try:
        import torch
    except ImportError:
        raise CheckpointError(
            f"{path} was saved before PyTorch 1.6; install torch, or save it again with "
            "torch.save(torch.load(path), path)"
        ) from None
    try:
        return _from_torch(torch, torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # whatever a foreign file makes another library raise
        raise CheckpointError(
            f"{path} was saved before PyTorch 1.6 and torch cannot read it ({_line(error)})"
        ) from None


def _from_torch(torch: Any, node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _from_torch(torch, child) for key, child in node.items()}
    if isinstance(node, (list, tuple)):
        return [_from_torch(torch, child) for child in node]
    if not isinstance(node, torch.Tensor):
        return node
    array = node.detach().contiguous()
    if array.dtype == torch.bfloat16:
        import ml_dtypes

        return _in_memory(array.view(torch.int16).numpy().view(ml_dtypes.bfloat16))
    return _in_memory(array.numpy())


def _in_memory(array: np.ndarray) -> LazyTensor:
    storage = Storage(Path(), 0, array.nbytes, array.dtype, array.tobytes())
    strides = tuple(s // array.itemsize for s in array.strides)
    return LazyTensor(storage, array.dtype, 0, tuple(array.shape), strides)
