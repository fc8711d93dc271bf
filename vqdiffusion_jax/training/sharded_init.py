"""Initialising a training state on the devices that hold it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from ..sharding import ShardingRules, shard, shardings


def abstract_on(mesh: jax.sharding.Mesh, make: Callable[[], Any], rules: ShardingRules = ShardingRules()) -> Any:
    """Return shapes, dtypes and shardings of ``make()``; nothing is computed."""
    abstract = jax.eval_shape(make)
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        abstract,
        shardings(abstract, mesh, rules),
    )


def init_sharded(mesh: jax.sharding.Mesh, abstract: Any, make: Callable[..., Any], *given: Any) -> Any:
    """Return ``make(*given)``, arrays made where ``abstract`` says; those of the trees ``given`` may be anywhere."""
    placements = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    return jax.jit(make, out_shardings=placements)(*(shard(tree, mesh) for tree in given))
