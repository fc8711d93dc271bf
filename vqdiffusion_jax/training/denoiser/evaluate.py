"""Validation: the variational bound of held-out tokens, all timesteps summed, without touching any training state.

    -ln p(x_0) <= sum_{t>0} KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) - ln p(x_0 | x_{t=0}) + KL(q(x_T | x_0) || p(x_T))

(paper section 4.2; Austin et al. 2021, equation 1.)  Every KL is summed exactly
over the codes; x_t is drawn once for each timestep, with noise that depends on
the batch's number and the sample's place in it, so two evaluations in batches of
one size differ by their weights only.
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

from ...config import ModelConfig, ObjectiveConfig
from ...diffusion.objective import loss_terms
from ...diffusion.schedule import Schedule, make_schedule
from ...diffusion.transitions import predict_start, q_sample
from ...models.denoiser import Denoiser
from ...sharding import on_mesh
from .state import Trained
from .step import Batch, Frozen, clean_tokens, encode_condition, text_encoder_of, with_null


def prior_nats(schedule: Schedule) -> float:
    """KL(q(x_T | x_0) || p(x_T)) of one token, p(x_T) being [MASK] as often as q(x_T) is and else any code alike.

    Sampling starts from [MASK] alone, which gives the few tokens that q leaves
    unmasked (1e-5 in the released models) no probability at all.
    """
    kernel = [float(table[schedule.num_timesteps - 1]) for table in (schedule.cum_keep, schedule.cum_uniform, schedule.cum_mask)]
    keep, uniform, mask = kernel
    prior = (1.0 - mask) / schedule.num_codes
    return (keep + uniform) * math.log((keep + uniform) / prior) + (schedule.num_codes - 1) * uniform * math.log(uniform / prior)


def bound_terms(denoiser: Denoiser, schedule: Schedule, x0: Array, condition: Array | None, keys: Array) -> Array:
    """Terms of the bound for tokens x0 (batch, length): (num_timesteps, batch) float32 nats, summed over positions.

    ``keys`` (batch,) random keys, one a sample.  Row 0 is the decoder's term, row t the KL at timestep t.
    One timestep is in memory at a time; what depends on the condition alone is computed once.
    """
    conditioning = denoiser.precompute(condition)
    marginals, jumps, num_codes = schedule.marginals(), schedule.one_step_jumps(), schedule.num_codes
    modulation = denoiser.modulation_table()

    def at(_, t: Array):
        times = jnp.full(x0.shape[:1], t, jnp.int32)
        draw = jax.vmap(lambda tokens, key: q_sample(tokens, marginals[t], num_codes, key=jax.random.fold_in(key, t)))
        x_t = draw(x0, keys)
        log_x0 = predict_start(denoiser(x_t, times, conditioning=conditioning, modulation=modulation))
        terms = loss_terms(log_x0, x0, x_t, times, jnp.ones(x0.shape[:1]), jumps, ObjectiveConfig())
        return None, terms.kl_loss

    return jax.lax.scan(at, None, jnp.arange(schedule.num_timesteps, dtype=jnp.int32))[1]


def make_evaluator(config: ModelConfig, mesh: Mesh) -> Callable[[Trained, Batch, Frozen, Array], Array]:
    """``evaluate(trained, batch, frozen, key) -> (batch,)`` bound of each sample in nats a token, jitted."""
    schedule = make_schedule(config.schedule)

    def evaluate(trained: Trained, batch: Batch, frozen: Frozen, key: Array) -> Array:
        denoiser, size = trained.denoiser, jax.tree.leaves(batch)[0].shape[0]
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(size))
        codec_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, schedule.num_timesteps)
        x0 = clean_tokens(frozen, batch, codec_keys)
        condition = with_null(denoiser, *encode_condition(config, text_encoder_of(trained, frozen), batch))
        terms = bound_terms(denoiser, schedule, x0, condition, keys)
        return terms.sum(0) / x0.shape[1] + prior_nats(schedule)

    return jax.jit(on_mesh(evaluate, mesh))


def bits_per_token(evaluate: Callable, trained: Trained, batches: Iterable[Any], frozen: Frozen, *, seed: int = 0) -> float:
    """Mean over ``batches`` (placed on the devices) of the bound in bits a token.  Raises ValueError if there are none."""
    totals = []
    for number, batch in enumerate(batches):
        nats = evaluate(trained, batch, frozen, jax.random.fold_in(jax.random.key(seed), number))
        totals.append(jnp.mean(nats))
    if not totals:
        raise ValueError("validation has no whole batch; give more held-out data or a smaller batch_size")
    return float(np.mean([float(total) for total in totals])) / math.log(2.0)
