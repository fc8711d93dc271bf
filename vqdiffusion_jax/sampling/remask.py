"""Remasking for mask-and-replace noise.

Wang et al. 2025, "Remasking Discrete Diffusion Models with Inference-Time Scaling".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import LogProbs, Tokens
from ..diffusion.schedule import Kernel, Schedule
from .ancestral import Ancestral, draw_posterior
from .fields import check_fields, setting
from .noise import Noise
from .strategy import NUM_INFERENCE_STEPS, TIMESTEPS, Plan, check_timesteps

REMASK_SCHEDULES = ("cap", "rescale")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Remask:
    """The exact posterior, but each call masks a share sigma of the codes again, so that later calls can mend them.

    A call from t to s draws from the posterior at a level of less noise than s, and masks each code that it drew with
    probability sigma.  Together this gives q(x_s) exactly (docs/strategies.md); without replacement noise it is the
    paper's remasking posterior.  ``remask_rate`` 0 is ``Ancestral``.

    remask_rate: in [0, 1].
    remask_schedule: "cap" for sigma = min(remask_rate, sigma_max), "rescale" for remask_rate * sigma_max, with
    sigma_max = min(1, C_s / (1 - C_t)) and C the share of masked tokens (the paper's section 4.1); at most C_s.
    num_inference_steps, timesteps: as for ``Ancestral``.
    Raises SettingError for values outside these.
    """

    explanation: ClassVar[str] = "the posterior, but masks some tokens again so that they can be mended"

    remask_rate: float = setting(
        0.02,
        static=False,
        plan_only=True,
        type=float,
        least=0.0,
        most=1.0,
        help="Share of the tokens masked again per step; 0 for none.",
    )
    remask_schedule: str = setting(
        "cap", plan_only=True, type=str, choices=REMASK_SCHEDULES, help="remask_rate as limit or as factor."
    )
    num_inference_steps: int | None = setting(**NUM_INFERENCE_STEPS, default_help="one for every timestep")
    timesteps: tuple[int, ...] | None = setting(**TIMESTEPS)

    def __post_init__(self):
        check_fields(self)
        check_timesteps(self.timesteps, num_inference_steps=self.num_inference_steps)

    def with_calls(self, calls: int, num_timesteps: int, num_tokens: int) -> Remask:
        return replace(self, num_inference_steps=min(calls, num_timesteps), timesteps=None)

    def plan(self, schedule: Schedule, num_tokens: int) -> Plan:
        plan = Ancestral(num_inference_steps=self.num_inference_steps, timesteps=self.timesteps).plan(
            schedule, num_tokens
        )
        mask_t = schedule.cum_mask[plan.timestep]
        mask_s = np.append(mask_t[1:], 0.0)
        most = np.minimum(1.0, mask_s / (1.0 - mask_t))
        sigma = np.minimum(self.remask_rate, most) if self.remask_schedule == "cap" else self.remask_rate * most
        log_kept = np.log1p(-np.minimum(sigma, mask_s))
        # From s without sigma's masks to t: sigma's masks, and then from s to t.
        jump = replace(
            plan.jump,
            transition=_keeping(plan.jump.transition, log_kept),
            marginal_s=_keeping(plan.jump.marginal_s, -log_kept),
        )
        return replace(plan, jump=jump, extra=(-log_kept).astype(np.float32))

    def step(self, call: Plan, log_x0: LogProbs, tokens: Tokens, noise: Noise, draw: jax.Array) -> Tokens:
        drawn = draw_posterior(call, log_x0, tokens, noise, draw)
        remasked = noise.exponential(draw, tokens.shape) < call.extra  # with probability 1 - exp(-extra) = sigma
        return jnp.where(remasked, log_x0.shape[-1], drawn)


def _keeping(kernel: Kernel, log_factor: np.ndarray) -> Kernel:
    """Return ``kernel`` with the probability of every outcome but [MASK] multiplied by exp(log_factor)."""
    log_not_mask = np.minimum(kernel.log_not_mask + log_factor, 0.0)  # rounding may exceed 0 where nothing is masked
    with np.errstate(divide="ignore"):
        log_mask = np.log(-np.expm1(log_not_mask))
    tables = (kernel.log_keep + log_factor, kernel.log_uniform + log_factor, log_mask, log_not_mask)
    return Kernel(*(np.asarray(table, np.float32) for table in tables))
