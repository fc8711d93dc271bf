"""Batches, on the host and on the devices."""

from __future__ import annotations

from typing import TypedDict, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding

from ..sharding import ShardingRules


class Batch(TypedDict, total=False):
    """A batch on the devices; a task reads the arrays that concern it."""

    images: Array  # (batch, height, width, channels) uint8
    tokens: Array  # (batch, length) int32, from a token cache: in place of images
    text_ids: Array  # (batch, context) int32, text models
    text_mask: Array  # (batch, context) bool, text models: where text_ids is not padding
    labels: Array  # (batch,) int32, class models; a dropped label is ``DenoiserConfig.null_label``
    weights: Array  # (batch,) float32, validation: 0 for samples that only fill the batch up; left out if none do


class HostBatch(TypedDict, total=False):
    """A process's part of a batch as a loader gives it; arrays as in ``Batch``."""

    images: np.ndarray
    tokens: np.ndarray
    text_ids: np.ndarray
    text_mask: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    ids: np.ndarray  # (batch,) names of the samples, for messages


def place_batch(batch: HostBatch, mesh: jax.sharding.Mesh, rules: ShardingRules = ShardingRules()) -> Batch:
    """Return a process's part of a batch as its part of global arrays, split over data and fsdp, without ``ids``."""
    sharding = NamedSharding(mesh, rules.batch)
    placed = {
        name: jax.make_array_from_process_local_data(sharding, np.asarray(array))
        for name, array in cast(dict[str, np.ndarray], batch).items()
        if name != "ids"
    }
    return cast(Batch, placed)


def filled(batch: HostBatch, multiple: int) -> HostBatch:
    """Return the batch with its last sample repeated, at weight 0, until its size is a multiple of ``multiple``."""
    arrays = cast(dict[str, np.ndarray], batch)
    size = len(next(iter(arrays.values())))
    if not (missing := -size % multiple):
        return batch
    arrays = {"weights": np.ones(size, np.float32)} | arrays
    longer = {name: np.concatenate([array, np.repeat(array[-1:], missing, 0)]) for name, array in arrays.items()}
    longer["weights"][size:] = 0.0
    return cast(HostBatch, longer)


def weights_of(batch: Batch) -> Array:
    """Return (batch,) float32: 1 for samples, 0 for those that only fill the batch up."""
    if "weights" in batch:
        return batch["weights"]
    return jnp.ones(jax.tree.leaves(batch)[0].shape[0], jnp.float32)


def array_of(batch: Batch, name: str) -> Array:
    """Return an array that the task has found to be there (``Task.check_batch``)."""
    return cast(dict[str, Array], batch)[name]


def sample_names(batch: HostBatch) -> list[str]:
    """Return the samples' names; none if the loader gives none."""
    return [str(name) for name in batch.get("ids", ())]
