"""PyTorch files without PyTorch: ``torch.save`` and TorchScript archives, read lazily; nothing in them is executed.

Both are zip archives of one pickle (``data.pkl``) and one uncompressed entry a storage (``data/0``, ``data/1``, ...),
so a tensor is a strided view of the file.  ``torch_legacy`` reads the files from before PyTorch 1.6.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import CheckpointError, brief
from ...lazy_tensor import LONGEST_NAME, REPEATED_BYTES, LazyTensor, Storage
from ...user_archives import DAMAGED, open_archive
from ...user_files import open_regular
from .safe_pickle import Inert, read_pickle
from .torch_legacy import MAGIC, read_legacy

# Limits of what a file may unpack to: PyTorch compresses nothing, and repacked weights hardly shrink.
PICKLE_BYTES = 64 * 2**20
UNPACKED_BYTES = 64 * 2**20
UNPACKED_RATIO = 20

_WRAPPERS = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile
# Limits of the tree of names that leads to the tensors.
MOST_NAMES = 200_000
MOST_VISITS = 400_000
MOST_COPIES = 4  # how often the numbers of a file may stand in its tensors: weights, averaged weights, ...

_ZIP = b"PK\x03\x04"
_CORRUPT = (
    *DAMAGED,
    pickle.UnpicklingError,
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
    MemoryError,
    RecursionError,
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
        file = open_regular(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
    with file:
        try:
            head = file.read(512)
            file.seek(0)
            if head.startswith(MAGIC):
                return read_legacy(path, file)
            if not head.startswith(_ZIP):
                raise _Other(_what_else(head))
            with open_archive(file) as archive:
                return _read(path, archive)
        except _Other as error:
            raise CheckpointError(f"{path} {error}") from None
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from None
        except zipfile.BadZipFile as error:
            raise CheckpointError(
                f"{path} is truncated or corrupt ({_line(error)}); if it was released in parts, join them in order, "
                "else download it again"
            ) from None
        except _CORRUPT as error:
            raise CheckpointError(f"{path} is corrupt ({_line(error)}); download it again") from None


class _Other(ValueError):
    """A file that is of another kind."""


def state_dict(tree: Any) -> dict[str, LazyTensor]:
    """Return the tensors in a tree of mappings or TorchScript modules by dotted name, in file order.

    A prefix that DistributedDataParallel or torch.compile put before every name is left out.

    Raises:
        CheckpointError: one line, for a tree that contains itself, is larger than any model's, names tensors by what is
            no printable text, or repeats the numbers that are stored.
    """
    found: dict[str, LazyTensor] = {}
    within: set[int] = set()  # the tables that lead to the present one
    visits = 0

    def collect(node: Any, name: str) -> None:
        nonlocal visits
        visits += 1
        if visits > MOST_VISITS or len(found) > MOST_NAMES:
            raise CheckpointError(f"the checkpoint's tables lead to more than {MOST_VISITS} values; it holds no model")
        if isinstance(node, LazyTensor):
            if len(name) > LONGEST_NAME or not name.isprintable():
                raise CheckpointError(f"the checkpoint names a tensor {brief(name, 80)}; it was not written by PyTorch")
            found[name] = node
        children = node.attributes if isinstance(node, Inert) else node
        if not isinstance(children, Mapping):
            return
        if id(children) in within:
            raise CheckpointError("the checkpoint contains itself; it was not written by PyTorch")
        if len(name) > LONGEST_NAME:
            return  # a tensor in here is refused by its name, and a name may not grow for ever
        within.add(id(children))
        for key, child in children.items():
            if isinstance(child, LazyTensor | Inert | Mapping):
                collect(child, f"{name}.{key}" if name else str(key))
        within.discard(id(children))

    try:
        collect(tree, "")
    except RecursionError:
        raise CheckpointError("the checkpoint's tables are nested too deep; it was not written by PyTorch") from None
    except CheckpointError:
        raise
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"the checkpoint's names are not those of tensors ({_line(error)}); it was not written by PyTorch"
        ) from None
    _check_repetition(found.values())
    return _unwrapped(found)


def _unwrapped(found: dict[str, LazyTensor]) -> dict[str, LazyTensor]:
    """Return tensors without a wrapper's prefix, if every name has it."""
    for prefix in _WRAPPERS:
        if found and all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    return found


def _check_repetition(tensors: Iterable[LazyTensor]) -> None:
    """Raise CheckpointError if tensors take far more memory than the numbers that are stored for them."""
    tensors = list(tensors)
    stored = {id(tensor.storage): tensor.storage.size for tensor in tensors}
    total, most = sum(tensor.nbytes for tensor in tensors), REPEATED_BYTES + MOST_COPIES * sum(stored.values())
    if total > most:
        raise CheckpointError(
            f"the checkpoint's tensors take {total} bytes, but only {sum(stored.values())} are stored for them; refused"
        )


def weights_of(tree: Any) -> dict[str, LazyTensor]:
    """Return the tensors of a file's ``state_dict`` or ``model``, or of the whole file if it has neither."""
    if isinstance(tree, Mapping):
        tree = next((tree[name] for name in ("state_dict", "model") if isinstance(tree.get(name), Mapping)), tree)
    return state_dict(tree)


def _line(error: BaseException) -> str:
    return brief(" ".join(str(error)[:1000].split())) or type(error).__name__


def _what_else(head: bytes) -> str:
    text = head.lstrip().lower()
    if not head:
        return "is empty; download it again"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not a checkpoint; the download link did not lead to the file"
    if text.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the checkpoint; fetch the file itself (git lfs pull)"
    if head[257:262] == b"ustar":
        return "is a tar archive, as PyTorch wrote before version 0.1.10; save it again with a later PyTorch"
    return "is not a checkpoint saved by PyTorch; give a .pth, .pt or .ckpt file"


def _read(path: Path, archive: zipfile.ZipFile) -> Any:
    entries = {info.filename: info for info in archive.infolist()}
    pickles = sorted((name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")), key=len)
    if not pickles:
        raise CheckpointError("it is a zip archive without data.pkl, so not a checkpoint saved by PyTorch")
    _check_sizes(archive, entries[pickles[0]], path.stat().st_size)
    root = pickles[0].removesuffix("data.pkl")
    if root + "byteorder" in entries and entries[root + "byteorder"].file_size > 64:
        raise zipfile.BadZipFile("its entry byteorder is no word")
    order = archive.read(root + "byteorder") if root + "byteorder" in entries else b"little"
    if order.strip() != b"little":
        raise CheckpointError("it was saved on a big-endian machine; save it again on a little-endian one")
    storages: dict[tuple[str, Any], Storage] = {}

    def storage(key: str, dtype: np.dtype | None, count: int) -> Storage:
        if (key, dtype) not in storages:
            info = entries.get(f"{root}data/{key}")
            if info is None:
                raise CheckpointError(f"it lacks the storage data/{brief(key, 40)}; it is truncated or was repacked")
            found = _locate(path, archive, info, dtype)
            if count * (dtype.itemsize if dtype is not None else 1) > found.size:
                raise CheckpointError(
                    f"its storage data/{key} holds {found.size} bytes where {count} numbers are promised"
                )
            storages[key, dtype] = found
        return storages[key, dtype]

    return read_pickle(BytesIO(archive.read(pickles[0])), storage)


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
        raise zipfile.BadZipFile(f"no entry where {brief(info.filename, 80)} should begin")
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    if file.read(name_length) != info.orig_filename.encode():
        raise zipfile.BadZipFile(f"another entry where {brief(info.filename, 80)} should begin")
    start = info.header_offset + 30 + name_length + extra_length
    if start + info.file_size > path.stat().st_size or info.compress_size != info.file_size:
        raise zipfile.BadZipFile(f"{brief(info.filename, 80)} reaches beyond the end of the file")
    return Storage(path, start, info.file_size, dtype)
