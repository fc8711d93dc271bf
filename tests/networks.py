"""Networks of random numbers from numpy; compiling JAX's own initialisation takes longer than most tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vqdiffusion_jax.models.codebook_reduction import first_codes_kept
from vqdiffusion_jax.models.shapes import shapes_of
from vqdiffusion_jax.paths import path_of


def random_network(make: Callable[..., Any], *arguments: Any, seed: int = 0) -> Any:
    """Return ``make(*arguments, rngs=...)`` with numbers about as large as those of its own initialisation."""
    network = shapes_of(make, *arguments)
    draw = np.random.default_rng(seed)

    def fill(key_path, leaf):
        name = path_of(key_path).split(".")[-1]
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.zeros(leaf.shape, leaf.dtype)
        if name in ("scale", "cluster_size"):
            return jnp.ones(leaf.shape, leaf.dtype)
        fan_in = int(np.prod(leaf.shape[leaf.ndim % 2 : -1])) if name == "kernel" else leaf.shape[-1]
        return jnp.asarray(draw.uniform(-1.0, 1.0, leaf.shape) * max(fan_in, 1) ** -0.5, leaf.dtype)

    network = jax.tree_util.tree_map_with_path(fill, network)
    codec = getattr(network, "codec", network)
    if getattr(codec, "reduced_to_full", None) is not None:
        tables = first_codes_kept(codec.config.codebook_size, codec.config.reduced_codebook_size)
        codec.full_to_reduced[...], codec.reduced_to_full[...] = (jnp.asarray(table) for table in tables)
    return network
