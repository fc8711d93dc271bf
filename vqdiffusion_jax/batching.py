"""Functions applied to many rows in batches of one compiled shape, each device of a mesh with its share of a batch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from .sharding import batch_sharding, make_mesh


def in_batches(
    function: Callable[[Any], Any],
    rows: Any,
    batch_size: int,
    *,
    mesh: Mesh | None = None,
    prepare: Callable[[Any], Any] = lambda batch: batch,
) -> Any:
    """Return ``function(prepare(batch))`` of all batches of ``rows``, concatenated, as numpy arrays.

    Args:
      function: of a pytree of arrays with a leading batch axis, to such a pytree; whole in every process.
      rows: a pytree of arrays with one leading axis; None among them stays None.
      batch_size: rows in a batch, on each device that takes different rows.  The last batch is filled up with copies of
        the last row, whose results are dropped.
      mesh: the ambient mesh of ``function``, over whose devices a batch is spread; None leaves the placement to JAX.
      prepare: on the host, from a batch of rows to what ``function`` takes.
    """
    count, results = len(jax.tree.leaves(rows)[0]), []
    together = batch_size * batch_devices(mesh)
    for first in range(0, count, together):
        indices = np.minimum(np.arange(first, first + together), count - 1)
        batch = prepare(jax.tree.map(lambda leaf: leaf[indices], rows))  # noqa: B023
        with ambient(mesh):
            results.append(jax.tree.map(np.asarray, function(spread(batch, mesh))))
    return jax.tree.map(lambda *arrays: np.concatenate(arrays)[:count], *results)


def local_mesh() -> Mesh | None:
    """Return a mesh of this process's devices along ``data``, or None if there is only one."""
    devices = jax.local_devices()
    return make_mesh(devices=devices) if len(devices) > 1 else None


def batch_devices(mesh: Mesh | None) -> int:
    """Return over how many devices of ``mesh`` the rows of a batch are spread."""
    return 1 if mesh is None else mesh.shape["data"] * mesh.shape["fsdp"]


def ambient(mesh: Mesh | None) -> contextlib.AbstractContextManager:
    """Return a context in which ``mesh`` is the ambient one, on which models spread their activations."""
    return contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh)


def spread(tree: Any, mesh: Mesh | None) -> Any:
    """Return arrays with a leading batch axis spread over ``mesh``, each process's rows on its own devices.

    Every process must hold all rows.  Without a mesh ``tree`` is returned as it is.
    """
    if mesh is None:
        return tree

    def place(array):
        if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(place(jax.random.key_data(array)), impl=jax.random.key_impl(array))
        if mesh.is_multi_process and not (isinstance(array, jax.Array) and not array.is_fully_addressable):
            array = np.asarray(array)  # a host array may go to devices of any process, one on a local device may not
        return jax.device_put(array, batch_sharding(mesh, len(array)))

    return jax.tree.map(place, tree)


def replicate(network: Any, mesh: Mesh | None) -> Any:
    """Return ``network``, which should be small, whole on every device of ``mesh``; without a mesh, as it is."""
    return network if mesh is None else jax.device_put(network, NamedSharding(mesh, P()))
