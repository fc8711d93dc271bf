"""How much of a codebook is in use."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array


def use_of_codes(counts: Array) -> tuple[Array, Array]:
    """How often each code was chosen (n,) -> (share of codes chosen at all, perplexity exp(-sum p ln p), at most n), scalars."""
    probabilities = counts / jnp.maximum(counts.sum(), 1)
    entropy = -jnp.sum(jnp.where(counts > 0, probabilities * jnp.log(jnp.maximum(probabilities, 1e-38)), 0.0))
    return jnp.mean((counts > 0).astype(jnp.float32)), jnp.exp(entropy)
