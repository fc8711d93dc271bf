"""Validation: the variational bound of held-out tokens (``diffusion.bound``), without touching any training state.

The noise depends on the batch's number and the sample's place in it, so two evaluations in batches of one size differ
by their weights only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from ...config import ModelConfig
from ...diffusion.bound import bound_terms, prior_nats
from ...diffusion.schedule import make_schedule
from ...random_keys import key_of
from ...sharding import on_mesh
from ..batch import Batch, weights_of
from .state import Trained
from .step import Frozen, clean_tokens, denoiser_of, encode_condition, text_encoder_of, with_null


def make_evaluator(config: ModelConfig, mesh: Mesh) -> Callable[[Trained, Batch, Frozen, Array], Array]:
    """Return ``evaluate(trained, batch, frozen, key) -> (batch,)``, jitted: each sample's bound in nats a token."""
    schedule = make_schedule(config.schedule)

    def evaluate(trained: Trained, batch: Batch, frozen: Frozen, key: Array) -> Array:
        denoiser, size = denoiser_of(trained, frozen), jax.tree.leaves(batch)[0].shape[0]
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(size))
        codec_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, schedule.num_timesteps)
        x0 = clean_tokens(frozen, batch, codec_keys)
        condition = with_null(denoiser, *encode_condition(config, text_encoder_of(trained, frozen), batch))
        terms = bound_terms(denoiser, schedule, x0, condition, keys)
        return terms.sum(0) / x0.shape[1] + prior_nats(schedule)

    return jax.jit(on_mesh(evaluate, mesh))


def bits_per_token(
    evaluate: Callable, trained: Trained, batches: Iterable[Any], frozen: Frozen, *, seed: int = 0
) -> float:
    """Return the bound in bits a token, the mean over the samples of ``batches``, on the devices.

    Raises ValueError if there are none.
    """
    means, sizes = [], []
    for number, batch in enumerate(batches):
        nats, weights = evaluate(trained, batch, frozen, jax.random.fold_in(key_of(seed), number)), weights_of(batch)
        means.append(jnp.mean(nats, where=weights > 0))
        sizes.append(jnp.sum(weights))
    if not means:
        raise ValueError("validation has no batch; give held-out data")
    return float(np.average(np.array(means, float), weights=np.array(sizes, float))) / math.log(2.0)
