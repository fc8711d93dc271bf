"""Discrete diffusion with mask-and-replace noise: schedules, transitions and training objectives."""

from .bound import bound_terms, prior_nats
from .objectives import Objective, Terms, make_objective
from .objectives.variational import LossTerms, loss_terms
from .schedule import Jump, Kernel, Schedule, check_timesteps, make_schedule
from .schedules import Cumulative, NoiseSchedule
from .timesteps import LossState, sample_timesteps, timestep_probabilities, update_loss_state
from .transitions import (
    LOG_FLOOR,
    LOG_ZERO,
    check_tokens,
    forward_log_prob,
    forward_log_prob_tokens,
    gumbel_from_uniform,
    log_one_hot,
    posterior,
    predict_start,
    q_sample,
    q_sample_trajectory,
    q_sample_with_uniforms,
    sample_categorical,
)

__all__ = [
    "LOG_FLOOR",
    "LOG_ZERO",
    "Cumulative",
    "Jump",
    "Kernel",
    "LossState",
    "LossTerms",
    "NoiseSchedule",
    "Objective",
    "Schedule",
    "Terms",
    "bound_terms",
    "check_timesteps",
    "check_tokens",
    "forward_log_prob",
    "forward_log_prob_tokens",
    "gumbel_from_uniform",
    "log_one_hot",
    "loss_terms",
    "make_objective",
    "make_schedule",
    "posterior",
    "predict_start",
    "prior_nats",
    "q_sample",
    "q_sample_trajectory",
    "q_sample_with_uniforms",
    "sample_categorical",
    "sample_timesteps",
    "timestep_probabilities",
    "update_loss_state",
]
