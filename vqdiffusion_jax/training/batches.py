"""Host batches to device batches."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding

from ..sharding import ShardingRules


def place_batch(
    batch: dict[str, Any], mesh: jax.sharding.Mesh, rules: ShardingRules = ShardingRules()
) -> dict[str, jax.Array]:
    """This process's part of a batch as its part of the global arrays, spread over data and fsdp; names stay behind."""
    sharding = NamedSharding(mesh, rules.batch)
    return {
        name: jax.make_array_from_process_local_data(sharding, np.asarray(array))
        for name, array in batch.items()
        if name != "ids"
    }


def names_of(batch: dict[str, Any]) -> list[str]:
    """The samples' names, for messages."""
    return [str(name) for name in batch.get("ids", [])]
