"""The names in a serialised program, a pickle: none but those of JAX's own programs is looked up."""

from __future__ import annotations

import io
import pickle
import pickletools
from typing import Any

from ..errors import CompiledError, one_line

# All that JAX's serialised programs name; whatever else a file names is refused before anything of it is made.
_KNOWN_NAMES = {
    ("jax", "P"),
    ("jax._src.core", "ManualAxisType"),
    ("jax._src.core", "MemorySpace"),
    ("jax._src.core", "ShapedArray"),
    ("jax._src.interpreters.pxla", "AllArgsInfo"),
    ("jax._src.interpreters.pxla", "UnloadedMeshExecutable"),
    ("jax._src.layout", "AutoLayoutSingleton"),
    ("jax._src.layout", "Layout"),
    ("jax._src.linear_util", "DebugInfo"),
    ("jax._src.mesh", "AbstractDevice"),
    ("jax._src.mesh", "AbstractMesh"),
    ("jax._src.mesh", "AxisType"),
    ("jax._src.mesh", "Mesh"),
    ("jax._src.named_sharding", "_unpickle_named_sharding"),
    ("jax._src.random.prng", "KeyTy"),
    ("jax._src.random.prng", "PRNGImpl"),
    ("jax._src.random.threefry2x32", "threefry_fold_in"),
    ("jax._src.random.threefry2x32", "threefry_random_bits"),
    ("jax._src.random.threefry2x32", "threefry_seed"),
    ("jax._src.random.threefry2x32", "threefry_split"),
    ("jax._src.sharding_impls", "_unpickle_single_device_sharding"),
    ("jax._src.stages", "ArgInfo"),
    ("jaxlib._jax", "DeviceList"),
    ("ml_dtypes", "bfloat16"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy._core.multiarray", "_reconstruct"),
}
_NUMBERED = ("PUT", "BINPUT", "LONG_BINPUT")  # codes of pickle that give an object its number


class _Names(pickle.Unpickler):
    """Reads a serialised program without making anything of it, and notes the names that are not known."""

    def __init__(self, data: bytes):
        super().__init__(io.BytesIO(data))
        self.unknown: list[str] = []

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN_NAMES:
            self.unknown.append(f"{module}.{name}")
        return _Nothing

    def persistent_load(self, pid: Any) -> Any:
        return None


class _Nothing:
    """Takes the place of every object."""

    def __new__(cls, *arguments: Any, **named: Any) -> _Nothing:
        return object.__new__(cls)

    def __init__(self, *arguments: Any, **named: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def check_names(payload: bytes, where: str) -> None:
    """Raise CompiledError if a serialised program names anything but what JAX's programs are made of."""
    names = _Names(payload)
    try:
        # Memory is taken for as many objects as the largest number has, and a program numbers no more than it holds.
        numbers = (number for code, number, _ in pickletools.genops(payload) if code.name in _NUMBERED)
        if any(isinstance(number, int) and number > len(payload) for number in numbers):
            raise ValueError("it numbers more objects than it holds")
        names.load()
    except Exception as error:  # bytes that are no pickle raise errors of many classes
        raise CompiledError(f"{where} is damaged: {one_line(error)[:200]}") from error
    if names.unknown:
        raise CompiledError(f"{where} names {names.unknown[0][:80]}, which no program of JAX's holds")
