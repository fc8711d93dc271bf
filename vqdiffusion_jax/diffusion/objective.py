"""What training minimises: the variational bound, an auxiliary term on x_0, and importance-sampled timesteps.

Nothing is kept between calls: the running losses that steer the choice of
timestep are a ``LossState`` that the caller carries.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from ..array_types import AnyFloat, LogProbs, SampleFloats, SampleIndices, Tokens
from ..config import ObjectiveConfig
from .schedule import Jump
from .transitions import log_one_hot, posterior

WARMUP_COUNT = 10  # every timestep must have been seen more often than this before losses steer the choice


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LossState:
    """Running mean of the squared loss at each timestep, and how often each was drawn (a pytree)."""

    history: Array  # (T,) float32
    count: Array  # (T,) float32

    @classmethod
    def zeros(cls, num_timesteps: int) -> LossState:
        """The state before training."""
        return cls(history=jnp.zeros(num_timesteps, jnp.float32), count=jnp.zeros(num_timesteps, jnp.float32))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LossTerms:
    """The loss and all it is made of, in nats (a pytree).

    Terms of shape (batch,) are sums over positions; ``loss`` is per token.
    """

    kl_per_position: Array  # (batch, length) KL of the true posterior from the model's, weighted
    kl: Array  # (batch,) its sum
    decoder_nll: Array  # (batch,) -ln p(x_{t-1} = x_0 | x_t)
    kl_loss: Array  # (batch,) decoder_nll at t = 0, kl elsewhere
    kl_aux: Array  # (batch,) -ln p(x_0 | x_t), weighted
    kl_aux_loss: Array  # (batch,) decoder_nll at t = 0, kl_aux elsewhere
    aux_weight: Array  # (batch,) weight of the auxiliary term that depends on t alone
    vb_loss: Array  # (batch,) both terms divided by the probability of having drawn t
    loss: Array  # () sum of vb_loss / (batch * length)
    log_model_prob: Array  # (batch, length, K + 1) ln p(x_{t-1} | x_t)
    log_true_prob: Array  # (batch, length, K + 1) ln q(x_{t-1} | x_t, x_0)


def timestep_probabilities(state: LossState) -> AnyFloat:
    """With which probability each timestep is drawn: (T,) float32.

    Uniform until every timestep has been drawn more than ten times, then
    proportional to the root mean square of its loss.  t = 0 borrows from t = 1,
    its own loss being of another kind.
    """
    num_timesteps = state.history.shape[0]
    score = jnp.sqrt(state.history + 1e-10) + 1e-4
    score = score.at[0].set(score[min(1, num_timesteps - 1)])
    return jnp.where(jnp.any(state.count <= WARMUP_COUNT), 1.0 / num_timesteps, score / jnp.sum(score))


def sample_timesteps(key_or_uniforms: Array, state: LossState, batch: int) -> tuple[SampleIndices, SampleFloats]:
    """Draw a timestep for every sample: (t (batch,) int32, probability of that t (batch,) float32).

    The first argument is a ``jax.random.key``, or uniforms (batch,) in [0, 1)
    which become timesteps by the inverse cumulative distribution.
    Raises ValueError if the uniforms do not have shape (batch,).
    """
    if jnp.issubdtype(key_or_uniforms.dtype, jax.dtypes.prng_key):
        uniforms = jax.random.uniform(key_or_uniforms, (batch,), jnp.float32)
    elif key_or_uniforms.shape == (batch,):
        uniforms = jnp.asarray(key_or_uniforms, jnp.float32)
    else:
        raise ValueError(
            f"sample_timesteps: uniforms have shape {key_or_uniforms.shape}; give ({batch},), or a jax.random.key"
        )
    probabilities = timestep_probabilities(state)
    t = jnp.searchsorted(jnp.cumsum(probabilities), uniforms, side="right")
    t = jnp.minimum(t, probabilities.shape[0] - 1).astype(jnp.int32)  # rounding may leave the last sum below 1
    return t, probabilities[t]


def update_loss_state(state: LossState, t: SampleIndices, kl_loss: SampleFloats) -> LossState:
    """The state after a batch: t (batch,), kl_loss (batch,).  No gradient flows through it.

    history_t <- 0.9 history_t + 0.1 kl_loss^2.  Where a timestep occurs more than once
    in a batch, its last occurrence counts; every occurrence adds to ``count``.
    """
    # The order in which a scatter writes duplicates is unspecified, but a maximum does not depend on it.
    last = jnp.full(state.history.shape, -1, jnp.int32).at[t].max(jnp.arange(t.shape[0], dtype=jnp.int32))
    squared = jnp.square(jax.lax.stop_gradient(kl_loss))[last]
    history = jnp.where(last >= 0, 0.9 * state.history + 0.1 * squared, state.history)
    return LossState(history=history, count=state.count.at[t].add(1.0))


def loss_terms(
    log_x0_pred: LogProbs,
    x0: Tokens,
    x_t: Tokens,
    t: SampleIndices,
    pt: SampleFloats,
    jumps: Jump,
    config: ObjectiveConfig,
) -> LossTerms:
    """The training loss and its parts (paper section 4.2: the variational bound, and the auxiliary term of the reparameterisation).

    ``log_x0_pred`` (batch, length, K) is ``predict_start`` of the logits; ``x0`` and
    ``x_t`` (batch, length) int32; ``t`` (batch,) int32 drawn with probability
    ``pt`` (batch,); ``jumps`` is ``Schedule.one_step_jumps()``.
    Raises ValueError if the shapes disagree.
    """
    shape = log_x0_pred.shape[:-1]
    if not (x0.shape == x_t.shape == shape and t.shape == pt.shape == shape[:1]):
        raise ValueError(
            f"loss_terms: log_x0_pred {log_x0_pred.shape} needs x0 and x_t of {shape} and t and pt of {shape[:1]}, "
            f"not {x0.shape}, {x_t.shape}, {t.shape} and {pt.shape}"
        )
    num_codes = log_x0_pred.shape[-1]
    jump = jumps[t]
    model = posterior(log_x0_pred, x_t, jump)
    true = posterior(log_one_hot(x0, num_codes), x_t, jump)
    weight = jnp.where(x_t == num_codes, config.masked_weight, config.unmasked_weight)

    kl_per_position = weight * jnp.sum(jnp.exp(true) * (true - model), axis=-1)
    kl = jnp.sum(kl_per_position, axis=-1)
    decoder_nll = -jnp.sum(_pick(model, x0), axis=-1)
    kl_aux = -jnp.sum(weight * _pick(log_x0_pred, x0), axis=-1)
    kl_loss = jnp.where(t == 0, decoder_nll, kl)
    kl_aux_loss = jnp.where(t == 0, decoder_nll, kl_aux)
    aux_weight = _auxiliary_weight(t, jumps.marginal_t.log_keep.shape[0], config.auxiliary_weighting)
    vb_loss = (kl_loss + config.auxiliary_weight * aux_weight * kl_aux_loss) / pt
    return LossTerms(
        kl_per_position=kl_per_position,
        kl=kl,
        decoder_nll=decoder_nll,
        kl_loss=kl_loss,
        kl_aux=kl_aux,
        kl_aux_loss=kl_aux_loss,
        aux_weight=aux_weight,
        vb_loss=vb_loss,
        loss=jnp.sum(vb_loss) / x0.size,
        log_model_prob=model,
        log_true_prob=true,
    )


def _pick(log_prob: Array, tokens: Array) -> Array:
    """The entry of each token.  A masked sum, whose gradient is a select; that of a gather is a scatter."""
    chosen = tokens[..., None] == jnp.arange(log_prob.shape[-1], dtype=tokens.dtype)
    return jnp.sum(jnp.where(chosen, log_prob, 0.0), axis=-1)


def _auxiliary_weight(t: Array, num_timesteps: int, weighting: str) -> Array:
    progress = t.astype(jnp.float32) / num_timesteps
    if weighting == "constant":
        return jnp.ones_like(progress)
    return 1.0 + (progress if weighting == "increasing" else 1.0 - progress)
