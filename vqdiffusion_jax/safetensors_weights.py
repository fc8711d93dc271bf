"""Weights in one safetensors file, each array under its parameter path, and whether stored arrays fit a model.

A weight may be stored in int8: ``path`` then holds whole numbers from -127 to 127, and ``path.scale`` the float32
numbers that they are multiplied by, one a column of a kernel and one a row of a table.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from .errors import CheckpointError, first_of
from .files import with_usual_permissions
from .paths import leaves_by_path, path_of
from .safetensors_file import read_safetensors

FILE = "weights.safetensors"
SCALE = ".scale"


def save_safetensors(file: Path, tree: Any, *, int8: bool = False) -> None:
    """Write every leaf of ``tree``, whose arrays this process holds whole, to ``file``.

    int8: store the linear layers' kernels and the tables of denoiser and text tower so; the codec stays as it is.
    """
    arrays = {name: np.ascontiguousarray(leaf) for name, leaf in leaves_by_path(tree).items()}
    for name in [name for name, array in arrays.items() if int8 and _is_rounded(name, array)]:
        arrays[name], arrays[name + SCALE] = to_int8(arrays[name], axis=_summed_axis(name))
    save_file(arrays, file, metadata={"format": "vqdiffusion_jax"})
    with_usual_permissions(file)


def to_int8(array: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return int8 numbers and their float32 scales, of size 1 along ``axis``: the largest there becomes 127."""
    array = array.astype(np.float32)
    scale = np.maximum(np.abs(array).max(axis, keepdims=True) / 127, np.finfo(np.float32).tiny)
    return np.round(array / scale).astype(np.int8), scale


def _is_rounded(name: str, array: np.ndarray) -> bool:
    network, *_, kind = name.split(".")
    matrix = array.ndim == 2 or (array.ndim == 3 and ".blocks." in name)  # stacked layers; others are convolutions
    return network in ("denoiser", "text_encoder") and kind in ("kernel", "embedding") and matrix


def _summed_axis(name: str) -> int:
    """Return the axis of a kernel over which products are summed, or that of a row of a table."""
    return -2 if name.endswith("kernel") else -1


def load_safetensors(file: Path, abstract: Any, shardings: Any = None) -> Any:
    """Read a file into the structure, dtypes and (optionally) shardings given, an array or a shard at a time.

    Args:
        file: as ``save_safetensors`` writes it.
        abstract: a tree of ShapeDtypeStructs.
        shardings: a tree of them; by default everything goes to the first local device.

    Raises:
        CheckpointError: if the file cannot be read or holds other leaves.
    """
    stored = dict(read_safetensors(file).tensors)
    scales = {name: stored.pop(name + SCALE) for name in list(stored) if name + SCALE in stored}
    _check_scales(stored, scales, file)
    whole_numbers = {
        name for name, tensor in stored.items() if not jnp.issubdtype(tensor.dtype, jnp.floating) and name not in scales
    }
    shapes = {name: tensor.shape for name, tensor in stored.items()}
    check_fits(shapes, abstract, str(file), whole_numbers=whole_numbers)
    paths, structure = jax.tree_util.tree_flatten_with_path(abstract)
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    placed = [here] * len(paths) if shardings is None else jax.tree.leaves(shardings)

    def read(name: str, leaf: Any, sharding: Any) -> jax.Array:
        def part(index: tuple[slice, ...] | None) -> np.ndarray:
            array = stored[name][index] if index else np.asarray(stored[name])  # a number without axes has ()
            if name in scales and index:
                scale = np.asarray(scales[name])
                array = array * scale[tuple(slice(None) if n == 1 else at for n, at in zip(scale.shape, index))]
            return array.astype(leaf.dtype, copy=False)

        return jax.make_array_from_callback(tuple(leaf.shape), sharding, part)

    leaves = [read(path_of(path), leaf, sharding) for (path, leaf), sharding in zip(paths, placed, strict=True)]
    return jax.tree.unflatten(structure, leaves)


def _check_scales(stored: Mapping[str, Any], scales: Mapping[str, Any], file: Path) -> None:
    """Raise CheckpointError unless every scale is float32 and has the axes of its weight, one of them of size 1."""
    for name, scale in scales.items():
        shape = stored[name].shape
        fits = len(shape) == len(scale.shape) > 0 and all(n in (1, size) for n, size in zip(scale.shape, shape))
        if not fits or scale.dtype != np.float32 or stored[name].dtype != np.int8:
            raise CheckpointError(
                f"{file}: {name + SCALE} is {scale.dtype}{list(scale.shape)} beside {stored[name].dtype}{list(shape)}; "
                "an int8 weight has a float32 scale a column or a row: save the model again"
            )


def check_fits(
    stored: Mapping[str, tuple[int, ...]], abstract: Any, where: str, *, whole_numbers: Collection[str] = ()
) -> None:
    """Raise CheckpointError, with the first arrays at fault, unless ``stored`` shapes are those of ``abstract``.

    whole_numbers: the stored arrays that hold no floats.  They fill none, as quantised weights mean nothing without
    their scales.
    """
    wanted = leaves_by_path(abstract)
    problems = [f"missing {name}" for name in wanted.keys() - stored.keys()]
    problems += [f"unexpected {name}" for name in stored.keys() - wanted.keys()]
    problems += [
        f"{name} is {stored[name]}, expected {tuple(leaf.shape)}"
        for name, leaf in wanted.items()
        if name in stored and stored[name] != tuple(leaf.shape)
    ]
    problems += [
        f"{name} holds whole numbers, expected {leaf.dtype}"
        for name, leaf in wanted.items()
        if name in whole_numbers and jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    if problems:
        raise CheckpointError(f"{where} does not fit its config.json: {first_of(sorted(problems))}")
