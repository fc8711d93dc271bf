"""Importance-sampled timesteps: those of large loss are drawn more often (paper section 4.2, as in the reference).

Nothing is kept between calls: the running losses are a ``LossState`` that the caller carries.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from ..array_types import AnyFloat, SampleFloats, SampleIndices

WARMUP_COUNT = 10  # every timestep must have been seen more often than this before losses steer the choice


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LossState:
    """Running mean of the squared loss at each timestep, and how often each was drawn (a pytree)."""

    history: Array  # (T,) float32
    count: Array  # (T,) float32

    @classmethod
    def zeros(cls, num_timesteps: int) -> LossState:
        """Return the state before training."""
        return cls(history=jnp.zeros(num_timesteps, jnp.float32), count=jnp.zeros(num_timesteps, jnp.float32))


def timestep_probabilities(state: LossState) -> AnyFloat:
    """Return the probability of drawing each timestep: (T,) float32.

    Uniform until every timestep has been drawn more than ten times, then
    proportional to the root mean square of its loss.  t = 0 borrows from t = 1,
    its own loss being of another kind.
    """
    num_timesteps = state.history.shape[0]
    score = jnp.sqrt(state.history + 1e-10) + 1e-4
    score = score.at[0].set(score[min(1, num_timesteps - 1)])
    return jnp.where(jnp.any(state.count <= WARMUP_COUNT), 1.0 / num_timesteps, score / jnp.sum(score))


def sample_timesteps(key_or_uniforms: Array, probabilities: AnyFloat, batch: int) -> tuple[SampleIndices, SampleFloats]:
    """Draw a timestep for every sample: (t (batch,) int32, probability of that t (batch,) float32).

    The first argument is a ``jax.random.key``, or uniforms (batch,) in [0, 1) which become timesteps by the inverse
    cumulative distribution.  ``probabilities`` (T,), as of ``timestep_probabilities``.  Raises ValueError if the
    uniforms do not have shape (batch,).
    """
    if jnp.issubdtype(key_or_uniforms.dtype, jax.dtypes.prng_key):
        uniforms = jax.random.uniform(key_or_uniforms, (batch,), jnp.float32)
    elif key_or_uniforms.shape == (batch,):
        uniforms = jnp.asarray(key_or_uniforms, jnp.float32)
    else:
        raise ValueError(
            f"sample_timesteps: uniforms have shape {key_or_uniforms.shape}; give ({batch},), or a jax.random.key"
        )
    t = jnp.searchsorted(jnp.cumsum(probabilities), uniforms, side="right")
    t = jnp.minimum(t, probabilities.shape[0] - 1).astype(jnp.int32)  # rounding may leave the last sum below 1
    return t, probabilities[t]


def update_loss_state(state: LossState, t: SampleIndices, kl_loss: SampleFloats) -> LossState:
    """Return the state after a batch: t (batch,), kl_loss (batch,).  No gradient flows through it.

    history_t <- 0.9 history_t + 0.1 kl_loss^2.  Where a timestep occurs more than once
    in a batch, its last occurrence counts; every occurrence adds to ``count``.
    """
    # The order in which a scatter writes duplicates is unspecified, but a maximum does not depend on it.
    last = jnp.full(state.history.shape, -1, jnp.int32).at[t].max(jnp.arange(t.shape[0], dtype=jnp.int32))
    squared = jnp.square(jax.lax.stop_gradient(kl_loss))[last]
    history = jnp.where(last >= 0, 0.9 * state.history + 0.1 * squared, state.history)
    return LossState(history=history, count=state.count.at[t].add(1.0))
