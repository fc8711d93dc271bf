"""Restarting codes that no latent chooses, in a codebook that follows its latents."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from ...models.quantizers import EMAQuantizer

# A restarted code begins with so many times the use below which it is dead.  If no latent chooses it, it is dead again
# after ln(GRACE) / (1 - decay) steps, 110 for a decay of 0.99, while the encoder is still near where the latent came
# from.
GRACE = 3.0


def restart_dead_codes(
    quantizer: EMAQuantizer,
    latents: Array,
    distances: Array,
    key: Array,
    *,
    share: float,
    everything: Array | bool = False,
) -> tuple[EMAQuantizer, Array]:
    """Move dead codes to latents of this batch that are far from their codes; the quantizer passed in is left as it is.

    A code is dead if its running use is below ``share`` of the mean use, or if ``everything`` is set: so a fresh
    codebook starts from data.  Latents are drawn without replacement, each with probability proportional to its squared
    distance from its code (as k-means++ seeds its centres; Arthur and Vassilvitskii 2007): a uniform draw would mostly
    give flat backgrounds, which have codes enough.

    Args:
      latents: (n, embed_dim), all of the batch.
      distances: (n,) squared distance of each latent from the code it chose.

    Returns:
      (quantizer, () int32 number of codes restarted, at most n).
    """
    codebook, use = quantizer.codebook[...], quantizer.cluster_size[...]
    mean_use = latents.shape[0] / codebook.shape[0]
    dead = (use < share * mean_use) | everything
    # The largest of log weight + Gumbel noise are a draw without replacement (Efraimidis and Spirakis 2006).
    order = jnp.log(jnp.maximum(distances, 1e-12)) + jax.random.gumbel(key, distances.shape)
    _, drawn = jax.lax.top_k(order, min(latents.shape[0], codebook.shape[0]))
    rank = jnp.cumsum(dead) - 1
    restarted = dead & (rank < drawn.shape[0])
    chosen = jax.lax.stop_gradient(latents).astype(jnp.float32)[drawn[jnp.clip(rank, 0, drawn.shape[0] - 1)]]
    moved = jnp.where(restarted[:, None], chosen, codebook)
    first_use = GRACE * share * mean_use

    updated = jax.tree.map(lambda leaf: leaf, quantizer)
    updated.codebook[...] = moved
    updated.cluster_size[...] = jnp.where(restarted, first_use, use)
    updated.codebook_sum[...] = jnp.where(restarted[:, None], first_use * chosen, quantizer.codebook_sum[...])
    return updated, restarted.sum().astype(jnp.int32)
