"""The globals of checkpoints: a short list builds tensors, known harmless ones become inert, all others are refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from ...errors import CheckpointError, brief
from ...lazy_tensor import LazyTensor, Storage
from .pickle_machine import Class, Inert, as_set, as_table, as_tuple, run

_DTYPES = {
    "float64": np.float64,
    "double": np.float64,
    "float32": np.float32,
    "float": np.float32,
    "float16": np.float16,
    "half": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "int64": np.int64,
    "long": np.int64,
    "int32": np.int32,
    "int": np.int32,
    "int16": np.int16,
    "short": np.int16,
    "int8": np.int8,
    "uint8": np.uint8,
    "bool": np.bool_,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
    "complex64": np.complex64,
    "complex128": np.complex128,
}

_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}

# Modules and globals beside the weights in training checkpoints; only their names are kept.
_INERT_MODULES = (
    "pytorch_lightning",
    "lightning",
    "lightning_fabric",
    "omegaconf",
    "__torch__",
    "typing",
    "pathlib",
    "argparse",
)
_INERT_GLOBALS = {
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("_codecs", "encode"),
    ("torch", "device"),
    ("torch", "Generator"),
    ("collections", "defaultdict"),
    ("collections", "Counter"),
    ("copy_reg", "_reconstructor"),
    ("copyreg", "_reconstructor"),
    ("torch.nn.parameter", "Parameter"),
    ("torch.jit._pickle", "build_intlist"),
    ("torch.jit._pickle", "build_doublelist"),
    ("torch.jit._pickle", "build_boollist"),
    ("torch.jit._pickle", "build_tensorlist"),
    ("torch.jit._pickle", "restore_type_tag"),
}
_INERT_GLOBALS |= {
    (module, name)
    for module in ("builtins", "__builtin__")
    for name in ("object", "dict", "list", "int", "long", "float")
}


FindStorage = Callable[[str, "np.dtype | None", int], Storage]


@dataclass(frozen=True)
class _NumberKind:
    """A storage class or dtype named in a pickle; dtype None is an untyped storage, counted in bytes."""

    dtype: np.dtype | None


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *unused: Any) -> LazyTensor:
    if not isinstance(storage, Storage):
        raise pickle.UnpicklingError("a tensor is built from something that is not a storage")
    return LazyTensor(storage, storage.dtype, offset, as_tuple(shape), as_tuple(strides))


def _tensor_with_dtype(
    storage: Any, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, kind: Any, *unused: Any
) -> LazyTensor:
    if not (isinstance(storage, Storage) and isinstance(kind, _NumberKind)):
        raise pickle.UnpicklingError("a tensor is built from something that is not a storage and a dtype")
    return LazyTensor(storage, kind.dtype, offset, as_tuple(shape), as_tuple(strides))


def _parameter(tensor: Any, *unused: Any) -> Any:
    return tensor


def _subclass(builder: Any, kind: Any, arguments: Any, *unused: Any) -> Any:
    if builder not in (_TENSOR, _TENSOR_WITH_DTYPE, _PARAMETER) or not isinstance(arguments, tuple):
        raise pickle.UnpicklingError("a tensor is built by something that does not build tensors")
    return builder.build(*arguments)


_TENSOR, _TENSOR_WITH_DTYPE, _PARAMETER = Class(_tensor), Class(_tensor_with_dtype), Class(_parameter)
_BUILDERS = {
    ("torch._utils", "_rebuild_tensor_v2"): _TENSOR,
    ("torch._utils", "_rebuild_tensor_v3"): _TENSOR_WITH_DTYPE,
    ("torch._utils", "_rebuild_parameter"): _PARAMETER,
    ("torch._utils", "_rebuild_parameter_with_state"): _PARAMETER,
    ("torch._tensor", "_rebuild_from_type_v2"): Class(_subclass),
    ("torch", "Size"): Class(as_tuple),
    ("collections", "OrderedDict"): Class(as_table),
    ("builtins", "set"): Class(as_set),
    ("__builtin__", "set"): Class(as_set),
}


def read_pickle(stream: BinaryIO, storage: FindStorage) -> Any:
    """Return the tree that a checkpoint's pickle holds, with LazyTensor for tensors and ``Inert`` for other objects.

    storage: from key, dtype and count of numbers to the bytes behind a persistent id.

    Raises CheckpointError for a global that no checkpoint has, and what ``pickle_machine.run`` raises.
    """

    def persistent(identity: Any) -> Storage:
        if not (isinstance(identity, tuple) and len(identity) >= 5 and identity[0] == "storage"):
            raise pickle.UnpicklingError("a persistent id does not name a storage")
        _, kind, key, _, count, *view = identity
        if not (isinstance(kind, _NumberKind) and isinstance(key, str) and type(count) is int and count >= 0):
            raise pickle.UnpicklingError("a persistent id does not name a storage")
        if any(part is not None for part in view):
            raise pickle.UnpicklingError("a storage is part of another, as PyTorch wrote them before version 0.4")
        return storage(key, kind.dtype, count)

    return run(stream, find_global=_find_global, find_persistent=persistent)


def read_plain_pickle(stream: BinaryIO) -> Any:
    """Return the plain value that a pickle holds.  Raises what ``pickle_machine.run`` raises."""
    return run(stream)


def _find_global(module: str, name: str) -> Any:
    if (module, name) in _BUILDERS:
        return _BUILDERS[module, name]
    if module == "torch" and name in _STORAGES:
        return _NumberKind(np.dtype(_DTYPES[_STORAGES[name]]))
    if module == "torch" and name in _DTYPES:
        return _NumberKind(np.dtype(_DTYPES[name]))
    if (module, name) == ("torch.storage", "UntypedStorage"):
        return _NumberKind(None)
    if module.split(".")[0] in _INERT_MODULES or (module, name) in _INERT_GLOBALS:
        return type("Inert", (Inert,), {"global_name": brief(f"{module}.{name}")})
    raise CheckpointError(
        f"its pickle asks for {brief(f'{module}.{name}')}, which is not part of a checkpoint of weights; refused"
    )
