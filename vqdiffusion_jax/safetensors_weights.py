"""Weights in one safetensors file, each array under its parameter path, and whether stored arrays fit a model."""

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


def save_safetensors(file: Path, tree: Any) -> None:
    """Write every leaf of ``tree``, whose arrays this process holds whole, to ``file``."""
    arrays = {name: np.ascontiguousarray(leaf) for name, leaf in leaves_by_path(tree).items()}
    save_file(arrays, file, metadata={"format": "vqdiffusion_jax"})
    with_usual_permissions(file)


def load_safetensors(file: Path, abstract: Any, shardings: Any = None) -> Any:
    """Read a file into the structure, dtypes and (optionally) shardings given, an array or a shard at a time.

    Args:
        file: as ``save_safetensors`` writes it.
        abstract: a tree of ShapeDtypeStructs.
        shardings: a tree of them; by default everything goes to the first local device.

    Raises:
        CheckpointError: if the file cannot be read or holds other leaves.
    """
    stored = read_safetensors(file).tensors
    whole_numbers = {name for name, tensor in stored.items() if not jnp.issubdtype(tensor.dtype, jnp.floating)}
    shapes = {name: tensor.shape for name, tensor in stored.items()}
    check_fits(shapes, abstract, str(file), whole_numbers=whole_numbers)
    paths, structure = jax.tree_util.tree_flatten_with_path(abstract)
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    placed = [here] * len(paths) if shardings is None else jax.tree.leaves(shardings)

    def read(name: str, leaf: Any, sharding: Any) -> jax.Array:
        def part(index: tuple[slice, ...] | None) -> np.ndarray:
            array = stored[name][index] if index else np.asarray(stored[name])  # a number without axes has ()
            return array.astype(leaf.dtype, copy=False)

        return jax.make_array_from_callback(tuple(leaf.shape), sharding, part)

    leaves = [read(path_of(path), leaf, sharding) for (path, leaf), sharding in zip(paths, placed, strict=True)]
    return jax.tree.unflatten(structure, leaves)


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
