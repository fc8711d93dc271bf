"""The variational bound of tokens, all timesteps summed.

    -ln p(x_0) <= sum_{t>0} KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t))
                  - ln p(x_0 | x_{t=0}) + KL(q(x_T | x_0) || p(x_T))

(paper section 4.2; Austin et al. 2021, equation 1.)  Every KL is summed exactly over the codes; x_t is drawn once for
each timestep.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from ..array_types import AnyFloat, Condition, Key, Tokens
from ..config import ObjectiveConfig
from .objectives.variational import loss_terms
from .schedule import Schedule
from .transitions import predict_start, q_sample


class Network(Protocol):
    """A network that predicts clean tokens, such as ``models.denoiser.Denoiser``."""

    def precompute(self, condition: Array | None) -> Any:
        """Return what depends on the condition alone."""
        ...

    def modulation_table(self) -> Any:
        """Return what depends on the timestep alone, for all timesteps."""
        ...

    def __call__(self, tokens: Array, timesteps: Array, *, conditioning: Any, modulation: Any) -> Array:
        """Return logits (batch, length, num_codes) of clean tokens, given ``tokens`` (batch, length) at
        ``timesteps`` (batch,)."""
        ...


def prior_nats(schedule: Schedule) -> float:
    """Return KL(q(x_T | x_0) || p(x_T)) of one token.

    p(x_T) is [MASK] as often as q(x_T) and otherwise uniform over the codes.

    Sampling starts from [MASK] alone, which gives the few tokens that q leaves unmasked (1e-5 in the released models)
    no probability.
    """
    kernel = [
        float(table[schedule.num_timesteps - 1])
        for table in (schedule.cum_keep, schedule.cum_uniform, schedule.cum_mask)
    ]
    keep, uniform, mask = kernel
    prior = (1.0 - mask) / schedule.num_codes
    same = (keep + uniform) * math.log((keep + uniform) / prior)
    others = (schedule.num_codes - 1) * uniform * math.log(uniform / prior) if uniform else 0.0
    return same + others


def bound_terms(network: Network, schedule: Schedule, x0: Tokens, condition: Condition | None, keys: Key) -> AnyFloat:
    """Return the bound's terms for tokens x0 (batch, length): (num_timesteps, batch) nats, summed over positions.

    keys: (batch,) random keys, one a sample.  Row 0 is the decoder's term, row t the KL at timestep t.
    One timestep is in memory at a time; what depends on the condition alone is computed once.
    """
    conditioning, modulation = network.precompute(condition), network.modulation_table()
    marginals, jumps, num_codes = schedule.marginals(), schedule.one_step_jumps(), schedule.num_codes

    def at(_, t: Array):
        times = jnp.full(x0.shape[:1], t, jnp.int32)
        draw = jax.vmap(lambda tokens, key: q_sample(tokens, marginals[t], num_codes, key=jax.random.fold_in(key, t)))
        x_t = draw(x0, keys)
        log_x0 = predict_start(network(x_t, times, conditioning=conditioning, modulation=modulation))
        terms = loss_terms(log_x0, x0, x_t, times, jnp.ones(x0.shape[:1]), jumps, ObjectiveConfig())
        return None, terms.kl_loss

    return jax.lax.scan(at, None, jnp.arange(schedule.num_timesteps, dtype=jnp.int32))[1]
