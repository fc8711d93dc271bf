"""Weights on disk; the only file that knows orbax.

Leaves are stored under their dotted parameter paths, so a file says what it
holds and can be read by any process layout, straight to its shards.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax

from .paths import leaves_by_path, path_of


class CheckpointError(ValueError):
    """A checkpoint that cannot be read or written; the message is one line."""


def _orbax():
    from orbax.checkpoint import v1  # imported when needed: it takes seconds

    return v1


def save_weights(folder: Path, tree: Any) -> None:
    """Write every leaf of ``tree`` to ``folder``, which must not exist.  All processes call this."""
    _orbax().save(Path(folder).absolute(), leaves_by_path(tree))


def load_weights(folder: Path, abstract: Any, shardings: Any = None) -> Any:
    """Read weights into the structure, dtypes and (optionally) shardings given.

    abstract: a tree of ShapeDtypeStructs, e.g. from ``jax.eval_shape``.
    Raises CheckpointError if the folder is no checkpoint or holds other leaves.
    """
    ocp = _orbax()
    folder = Path(folder).absolute()
    if not ocp.is_orbax_checkpoint(folder):
        raise CheckpointError(f"{folder} holds no weights; expected a folder written by save_pretrained")
    stored = {name: (tuple(leaf.shape)) for name, leaf in ocp.metadata(folder).metadata.items()}
    paths, structure = jax.tree_util.tree_flatten_with_path(abstract)
    wanted = leaves_by_path(abstract)
    problems = [f"missing {name}" for name in wanted.keys() - stored.keys()]
    problems += [f"unexpected {name}" for name in stored.keys() - wanted.keys()]
    problems += [
        f"{name} is {stored[name]}, expected {tuple(leaf.shape)}"
        for name, leaf in wanted.items()
        if name in stored and stored[name] != tuple(leaf.shape)
    ]
    if problems:
        raise CheckpointError(f"{folder} does not fit its config.json: {'; '.join(sorted(problems))}")
    if shardings is None:
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        placed = [here] * len(paths)
    else:
        placed = jax.tree.leaves(shardings)
    targets = {
        path_of(key_path): jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
        for (key_path, leaf), sharding in zip(paths, placed, strict=True)
    }
    try:
        restored = ocp.load(folder, targets)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} cannot be read: {str(error).splitlines()[0]}") from error
    return jax.tree.unflatten(structure, [restored[path_of(key_path)] for key_path, _ in paths])
