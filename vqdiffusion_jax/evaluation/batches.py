"""Rows computed in batches of one compiled shape, every device of a mesh its share of each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ..sharding import batch_sharding


def in_batches(
    function: Callable[[Any], Any],
    rows: Any,
    batch: int,
    *,
    mesh: Mesh | None = None,
    prepare: Callable[[Any], Any] = lambda part: part,
) -> Any:
    """``function(prepare(part))`` of parts of ``rows``, an array or a tree of them with one leading axis; its results for all rows.

    batch: rows together, on each device that takes rows of its own; the last part is filled up with the last row, and what is
    computed of that is dropped.  mesh: of this process's devices; each gets its share of what ``prepare``, on the host, makes of a
    part, and is the ambient mesh of ``function``.  Without a mesh all is left where JAX puts it.
    """
    count, found = len(jax.tree.leaves(rows)[0]), []
    together = batch * _devices_of_batch(mesh)
    for first in range(0, count, together):
        numbers = np.minimum(np.arange(first, first + together), count - 1)
        part = prepare(jax.tree.map(lambda leaf: leaf[numbers], rows))  # noqa: B023
        with contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh):
            found.append(
                jax.tree.map(
                    np.asarray, function(part if mesh is None else jax.device_put(part, batch_sharding(mesh, together)))
                )
            )
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *found)


def _devices_of_batch(mesh: Mesh | None) -> int:
    """Over how many devices the rows of a batch are spread."""
    return 1 if mesh is None else mesh.shape["data"] * mesh.shape["fsdp"]


def everywhere(network: Any, mesh: Mesh | None) -> Any:
    """``network`` whole on every device of ``mesh``, as small ones are; as it is without a mesh."""
    return network if mesh is None else jax.device_put(network, NamedSharding(mesh, P()))
