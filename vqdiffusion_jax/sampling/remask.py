"""Remasking (Wang et al. 2025, "Remasking Discrete Diffusion Models with Inference-Time Scaling"), for mask-and-replace noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real

import jax
import jax.numpy as jnp
import numpy as np

from ..diffusion.schedule import Jump, Kernel, Schedule
from .ancestral import Ancestral, draw_posterior
from .noise import Noise
from .strategy import Plan, static

REMASK_SCHEDULES = ("cap", "rescale")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Remask:
    """The exact posterior, except that each call masks a share sigma of the codes again, so that later calls can mend them.

    A call from t to s draws from the posterior at a level with less noise than
    s, and masks what it drew with probability sigma: together that gives
    q(x_s) exactly (docs/strategies.md), and without replacement noise it is
    the paper's remasking posterior.  ``rate`` 0 is ``Ancestral``.

    rate: in [0, 1], data; schedule: "cap", sigma = min(rate, sigma_max), or
    "rescale", sigma = rate * sigma_max, where sigma_max = min(1, C_s / (1 - C_t))
    and C is the share of masked tokens (the paper's section 4.1); never more than C_s.
    num_steps, timesteps: as for ``Ancestral``.
    Raises ValueError for values outside these.
    """

    rate: float = 0.02
    remask_schedule: str = static(default="cap")
    num_steps: int | None = static(default=None)
    timesteps: tuple[int, ...] | None = static(default=None)

    def __post_init__(self):
        if isinstance(self.rate, Real) and not 0.0 <= self.rate <= 1.0:
            raise ValueError(f"Remask.rate is {self.rate}; it must lie in [0, 1] (0 masks nothing again)")
        if self.remask_schedule not in REMASK_SCHEDULES:
            raise ValueError(
                f"Remask.remask_schedule is {self.remask_schedule!r}; allowed: {', '.join(REMASK_SCHEDULES)}"
            )

    def plan(self, schedule: Schedule, num_tokens: int) -> Plan:
        plan = Ancestral(num_steps=self.num_steps, timesteps=self.timesteps).plan(schedule, num_tokens)
        mask_t = schedule.cum_mask[plan.timestep]
        mask_s = np.append(mask_t[1:], 0.0)
        most = np.minimum(1.0, mask_s / (1.0 - mask_t))
        sigma = np.minimum(self.rate, most) if self.remask_schedule == "cap" else self.rate * most
        log_kept = np.log1p(-np.minimum(sigma, mask_s))
        # From s without sigma's masks to t: sigma's masks, and then from s to t.
        jump = Jump(
            plan.jump.marginal_t, _keeping(plan.jump.transition, log_kept), _keeping(plan.jump.marginal_s, -log_kept)
        )
        return replace(plan, jump=jump, extra=(-log_kept).astype(np.float32))

    def step(self, call: Plan, log_x0: jax.Array, tokens: jax.Array, noise: Noise, draw: jax.Array) -> jax.Array:
        drawn = draw_posterior(call, log_x0, tokens, noise, draw)
        remasked = noise.exponential(draw, tokens.shape) < call.extra  # with probability 1 - exp(-extra) = sigma
        return jnp.where(remasked, log_x0.shape[-1], drawn)


def _keeping(kernel: Kernel, log_factor: np.ndarray) -> Kernel:
    """``kernel`` with the probability of not being masked times exp(log_factor), whatever the code becomes."""
    log_not_mask = np.minimum(kernel.log_not_mask + log_factor, 0.0)  # rounding may exceed 0, where nothing is masked
    with np.errstate(divide="ignore"):
        log_mask = np.log(-np.expm1(log_not_mask))
    tables = (kernel.log_keep + log_factor, kernel.log_uniform + log_factor, log_mask, log_not_mask)
    return Kernel(*(np.asarray(table, np.float32) for table in tables))
