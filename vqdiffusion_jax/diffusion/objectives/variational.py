"""The reference's objective: the variational bound and an auxiliary term on x_0."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from ...array_types import AnyFloat, LogProbs, SampleFloats, SampleIndices, Tokens
from ...config import ObjectiveConfig
from ..schedule import Jump, Schedule
from ..timesteps import LossState, timestep_probabilities
from ..transitions import append, log_one_hot, posterior_parts
from . import Terms, log_prob_of


class Variational:
    """``loss_terms`` at importance-sampled timesteps; the options are ``ObjectiveConfig``'s fields."""

    def __init__(
        self,
        schedule: Schedule,
        *,
        auxiliary_weight: float,
        auxiliary_weighting: str,
        masked_weight: float,
        unmasked_weight: float,
    ):
        self._jumps = schedule.one_step_jumps()
        self._config = ObjectiveConfig(
            auxiliary_weight=auxiliary_weight,
            auxiliary_weighting=auxiliary_weighting,
            masked_weight=masked_weight,
            unmasked_weight=unmasked_weight,
        )

    def timestep_probabilities(self, losses: LossState) -> AnyFloat:
        return timestep_probabilities(losses)

    def __call__(self, log_x0: LogProbs, x0: Tokens, x_t: Tokens, t: SampleIndices, pt: SampleFloats) -> Terms:
        terms = loss_terms(log_x0, x0, x_t, t, pt, self._jumps, self._config)
        return Terms(loss=terms.loss, nats=terms.kl_loss)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LossTerms:
    """The loss and its parts, in nats (a pytree).

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


def loss_terms(
    log_x0_pred: LogProbs,
    x0: Tokens,
    x_t: Tokens,
    t: SampleIndices,
    pt: SampleFloats,
    jumps: Jump,
    config: ObjectiveConfig,
) -> LossTerms:
    """Return the training loss and its parts (paper section 4.2: bound and auxiliary term of the reparameterisation).

    ``log_x0_pred`` (batch, length, K) is ``predict_start`` of the logits; ``x0`` and ``x_t`` (batch, length) int32;
    ``t`` (batch,) int32 drawn with probability ``pt`` (batch,); ``jumps`` is ``Schedule.one_step_jumps()``; ``config``
    is that of the objective "variational". Raises ValueError if the shapes disagree.
    """
    shape = log_x0_pred.shape[:-1]
    if not (x0.shape == x_t.shape == shape and t.shape == pt.shape == shape[:1]):
        raise ValueError(
            f"loss_terms: log_x0_pred {log_x0_pred.shape} needs x0 and x_t of {shape} and t and pt of {shape[:1]}, "
            f"not {x0.shape}, {x_t.shape}, {t.shape} and {pt.shape}"
        )
    num_codes = log_x0_pred.shape[-1]
    jump = jumps[t]
    # Codes and [MASK] apart: an array of K + 1 classes would be written and read, and XLA for GPUs fails where it fuses
    # one into sums (JAX 0.10.2).
    model, model_mask = posterior_parts(log_x0_pred, x_t, jump)
    true, true_mask = posterior_parts(log_one_hot(x0, num_codes), x_t, jump)
    weight = jnp.where(x_t == num_codes, config.masked_weight, config.unmasked_weight)

    of_mask = (jnp.exp(true_mask) * (true_mask - model_mask))[..., 0]
    kl_per_position = weight * (jnp.sum(jnp.exp(true) * (true - model), axis=-1) + of_mask)
    kl = jnp.sum(kl_per_position, axis=-1)
    decoder_nll = -jnp.sum(log_prob_of(x0, model), axis=-1)
    kl_aux = -jnp.sum(weight * log_prob_of(x0, log_x0_pred), axis=-1)
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
        log_model_prob=append(model, model_mask),
        log_true_prob=append(true, true_mask),
    )


def _auxiliary_weight(t: Array, num_timesteps: int, weighting: str) -> Array:
    progress = t.astype(jnp.float32) / num_timesteps
    if weighting == "constant":
        return jnp.ones_like(progress)
    return 1.0 + (progress if weighting == "increasing" else 1.0 - progress)
