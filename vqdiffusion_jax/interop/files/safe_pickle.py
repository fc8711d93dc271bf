"""A pickle reader that executes nothing.

A short list of globals builds tensors, known harmless ones become inert, and all others are refused.
"""

from __future__ import annotations

import collections
import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from ...errors import CheckpointError
from .lazy_tensor import LazyTensor, Sealed, Storage

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


class Inert:
    """A stand-in for an object of a foreign class; it accepts anything from the pickle and does nothing with it.

    ``attributes`` is the state that the pickle set; for TorchScript modules it is their tree of parameters.
    """

    global_name = "?"
    attributes: dict[str, Any]

    def __new__(cls, *arguments: Any, **named: Any) -> Inert:
        self = super().__new__(cls)
        object.__setattr__(self, "attributes", {})
        return self

    def __init__(self, *arguments: Any, **named: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        object.__setattr__(self, "attributes", dict(state) if isinstance(state, dict) else {})

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        pass

    def extend(self, items: Any) -> None:
        pass

    def add(self, item: Any) -> None:
        pass

    def __repr__(self) -> str:
        return f"<{self.global_name}, not loaded>"


class Ordered(collections.OrderedDict):
    """An OrderedDict whose attributes no pickle may set: PyTorch's ``_metadata`` is dropped."""

    def __setstate__(self, state: Any) -> None:
        pass


@dataclass(frozen=True)
class _NumberKind(Sealed):
    """A storage class or dtype named in a pickle; dtype None is an untyped storage, counted in bytes."""

    dtype: np.dtype | None


@dataclass(frozen=True)
class _Builder(Sealed):
    """A function that a pickle may call but not alter."""

    function: Callable

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def _tensor(storage: Storage, offset: int, shape: tuple, strides: tuple, *unused: Any) -> LazyTensor:
    if not isinstance(storage, Storage):
        raise pickle.UnpicklingError("a tensor is built from something that is not a storage")
    return LazyTensor(storage, storage.dtype, offset, tuple(shape), tuple(strides))


def _tensor_with_dtype(
    storage: Storage, offset: int, shape: tuple, strides: tuple, grad: Any, hooks: Any, kind: Any, *unused: Any
) -> LazyTensor:
    if not (isinstance(storage, Storage) and isinstance(kind, _NumberKind)):
        raise pickle.UnpicklingError("a tensor is built from something that is not a storage and a dtype")
    return LazyTensor(storage, kind.dtype, offset, tuple(shape), tuple(strides))


def _parameter(tensor: Any, *unused: Any) -> Any:
    return tensor


def _subclass(build: Any, kind: Any, arguments: tuple, state: Any) -> Any:
    if not isinstance(build, _Builder):
        raise pickle.UnpicklingError("a tensor is built by something that does not build tensors")
    return build(*arguments)


_BUILDERS = {
    ("torch._utils", "_rebuild_tensor_v2"): _Builder(_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): _Builder(_tensor_with_dtype),
    ("torch._utils", "_rebuild_parameter"): _Builder(_parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): _Builder(_parameter),
    ("torch._tensor", "_rebuild_from_type_v2"): _Builder(_subclass),
    ("torch", "Size"): tuple,
    ("collections", "OrderedDict"): Ordered,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
}


class SafeUnpickler(pickle.Unpickler):
    """An unpickler of one checkpoint.  ``storage(key, dtype, count)`` finds the bytes behind a persistent id."""

    def __init__(self, data: bytes, storage: Callable[[str, np.dtype | None, int], Storage]):
        super().__init__(io.BytesIO(data), encoding="utf-8")
        self._storage = storage
        self._inert: dict[tuple[str, str], type[Inert]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _BUILDERS:
            return _BUILDERS[module, name]
        if module == "torch" and name in _STORAGES:
            return _NumberKind(np.dtype(_DTYPES[_STORAGES[name]]))
        if module == "torch" and name in _DTYPES:
            return _NumberKind(np.dtype(_DTYPES[name]))
        if (module, name) == ("torch.storage", "UntypedStorage"):
            return _NumberKind(None)
        if module.split(".")[0] in _INERT_MODULES or (module, name) in _INERT_GLOBALS:
            if (module, name) not in self._inert:
                self._inert[module, name] = type("Inert", (Inert,), {"global_name": f"{module}.{name}"})
            return self._inert[module, name]
        raise CheckpointError(
            f"its pickle asks for {module}.{name}, which is not part of a checkpoint of weights; refused"
        )

    def persistent_load(self, identity: Any) -> Storage:
        if not (
            isinstance(identity, tuple)
            and len(identity) >= 5
            and identity[0] == "storage"
            and isinstance(identity[1], _NumberKind)
        ):
            raise pickle.UnpicklingError("a persistent id does not name a storage")
        _, kind, key, _, count = identity[:5]
        if not isinstance(key, str) or not isinstance(count, int):
            raise pickle.UnpicklingError("a persistent id does not name a storage")
        return self._storage(key, kind.dtype, count)
