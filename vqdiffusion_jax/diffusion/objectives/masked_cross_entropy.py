"""MaskGIT's objective: cross-entropy of the masked tokens."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from ...array_types import AnyFloat, LogProbs, SampleFloats, SampleIndices, Tokens
from ...errors import ConfigError
from ..schedule import Schedule
from ..timesteps import LossState
from . import Terms, log_prob_of


class MaskedCrossEntropy:
    """-ln p(x_0 | x_t) of masked tokens, weighted alike, at uniform timesteps (Chang et al. 2022, equation 1).

    The sum over a batch is divided by the number of masked tokens that the schedule leads to expect, so that a token
    weighs the same in every batch, on any number of devices and in any number of accumulation rounds.

    label_smoothing: the share of the target that is spread evenly over all codes, as MaskGIT has 0.1.
    unmasked_weight: the weight of tokens that are not masked, beside 1 of those that are.  With a schedule that
      replaces tokens, a weight above 0 teaches the network which of them to doubt; without it, only strategies that
      never look at unmasked tokens again (``maskgit``, ``entropy_bound``), or a schedule that only masks, are of use
      for sampling.

    Raises ConfigError for an option out of range.
    """

    def __init__(self, schedule: Schedule, *, label_smoothing: float = 0.1, unmasked_weight: float = 0.0):
        if not 0.0 <= label_smoothing < 1.0:
            raise ConfigError(
                f"option label_smoothing of masked_cross_entropy is {label_smoothing!r}; it must lie in [0, 1)"
            )
        if not unmasked_weight >= 0.0:
            raise ConfigError(
                f"option unmasked_weight of masked_cross_entropy is {unmasked_weight!r}; it must be at least 0"
            )
        self._smoothing, self._unmasked_weight = label_smoothing, unmasked_weight
        mask = schedule.cum_mask[:-1]
        self._expected_weight = float(np.mean(mask + unmasked_weight * (1.0 - mask)))  # of a token
        # Of the tokens masked at t, the share that the step from t to t - 1 reveals.
        self._revealed = np.asarray((mask - np.append(0.0, mask[:-1])) / mask, np.float32)
        self._num_codes, self._num_timesteps = schedule.num_codes, schedule.num_timesteps

    def timestep_probabilities(self, losses: LossState) -> AnyFloat:
        return jnp.full(self._num_timesteps, 1.0 / self._num_timesteps, jnp.float32)

    def __call__(self, log_x0: LogProbs, x0: Tokens, x_t: Tokens, t: SampleIndices, pt: SampleFloats) -> Terms:
        """Return the terms; ``nats`` is the loss of tokens that t reveals, the bound's where nothing is replaced."""
        masked = x_t == self._num_codes
        likelihood = log_prob_of(x0, log_x0)
        smoothed = (1.0 - self._smoothing) * likelihood + self._smoothing * jnp.mean(log_x0, axis=-1)
        weight = jnp.where(masked, 1.0, self._unmasked_weight)
        return Terms(
            loss=-jnp.sum(weight * smoothed) / (x0.size * self._expected_weight),
            nats=-jnp.sum(jnp.where(masked, likelihood, 0.0), axis=-1) * jnp.asarray(self._revealed)[t],
        )
