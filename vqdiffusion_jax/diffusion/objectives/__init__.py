"""Training objectives by name, one small file each, or by the name of a class that lies elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp
from jax import Array

from ...array_types import AnyFloat, AnyInt, LogProbs, SampleFloats, SampleIndices, Tokens
from ...config import OBJECTIVES, ObjectiveConfig
from ...extensions import check_options, check_trusted, load_class
from ..schedule import Schedule
from ..timesteps import LossState


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Terms:
    """An objective's result for a batch (a pytree)."""

    loss: Array  # () nats a token: training follows its gradient
    nats: Array  # (batch,) the bound's term at t, summed over positions: for bits per token and ``LossState``


class Objective(Protocol):
    """The class that ``ObjectiveConfig.name`` stands for; ``options`` are keyword-only parameters of its ``__init__``.

    An object of it is a pure function of its arguments that is traced inside the training step.
    """

    def __init__(self, schedule: Schedule, **options): ...

    def timestep_probabilities(self, losses: LossState) -> AnyFloat:
        """Return the probability of training on each timestep: (T,) float32, summing to 1."""
        ...

    def __call__(self, log_x0: LogProbs, x0: Tokens, x_t: Tokens, t: SampleIndices, pt: SampleFloats) -> Terms:
        """Return the loss of predictions.

        log_x0: (batch, length, K), ln p(x_0 | x_t) of the denoiser.  x0, x_t: (batch, length) int32, clean and noised
        tokens, [MASK] = K.  t: (batch,) int32, drawn with probability pt (batch,).
        """
        ...


def make_objective(config: ObjectiveConfig, schedule: Schedule) -> Objective:
    """Return the objective that ``config`` names, for noise of ``schedule``.

    Raises ConfigError, one line, for a class that is not trusted or cannot be imported, or an unknown option.
    """
    check_trusted(config.name, "ObjectiveConfig.name")
    cls = load_class(
        config.name,
        OBJECTIVES,
        __name__,
        where="ObjectiveConfig.name",
        kind="training objective",
        methods=("timestep_probabilities", "__call__"),
        see="Objective in vqdiffusion_jax/diffusion/objectives/__init__.py",
    )
    options = config.arguments()
    check_options(cls, config.name, options)
    return cls(schedule, **options)


def log_prob_of(tokens: AnyInt, log_prob: AnyFloat) -> AnyFloat:
    """Return each token's entry of ``log_prob`` (..., K): (...).

    A masked sum, whose gradient is a select; a gather's is a scatter.
    """
    chosen = tokens[..., None] == jnp.arange(log_prob.shape[-1], dtype=tokens.dtype)
    return jnp.sum(jnp.where(chosen, log_prob, 0.0), axis=-1)
