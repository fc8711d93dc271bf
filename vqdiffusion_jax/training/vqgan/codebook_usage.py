"""Measures of a codebook's use."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array


def codebook_use(counts: Array) -> tuple[Array, Array]:
    """Return the share of codes in use and the perplexity exp(-sum p ln p), at most n, scalars, of counts (n,)."""
    probabilities = counts / jnp.maximum(counts.sum(), 1)
    entropy = -jnp.sum(jnp.where(counts > 0, probabilities * jnp.log(jnp.maximum(probabilities, 1e-38)), 0.0))
    return jnp.mean((counts > 0).astype(jnp.float32)), jnp.exp(entropy)
