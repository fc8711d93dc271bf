"""The posterior p(x_s | x_t) as a step rule: exact for any steps, and as the released code's fast mode takes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import jax
import numpy as np

from ..diffusion.schedule import Schedule
from ..diffusion.transitions import sample_posterior
from .noise import Noise
from .strategy import Plan, static


def draw_posterior(call: Plan, log_x0: jax.Array, tokens: jax.Array, noise: Noise, draw: jax.Array) -> jax.Array:
    """Tokens (batch, length) int32 from p(x_s | x_t) of ``call.jump``."""
    return sample_posterior(log_x0, tokens, call.jump, noise.gumbel(draw, (*tokens.shape, log_x0.shape[-1] + 1)))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Ancestral:
    """Exact posterior p(x_s | x_t) for any number of steps; with one a timestep it is the paper's sampler.

    num_steps: network calls; their timesteps run evenly from first_timestep to
    0, and the last jump ends at clean data.  None: one for every timestep.
    first_timestep: where to begin; None: the last.  Below it, tokens are
    expected to carry less noise (see ``editing``).  From an all-mask start,
    first_timestep = n - 1 is what diffusers means by num_inference_steps = n.
    timesteps: an explicit strictly decreasing schedule instead of both.
    Raises ValueError for a schedule that does not strictly decrease or leaves the model's timesteps.
    """

    num_steps: int | None = static(default=None)
    first_timestep: int | None = static(default=None)
    timesteps: tuple[int, ...] | None = static(default=None)

    def __post_init__(self):
        if self.timesteps is None:
            return
        if self.num_steps is not None or self.first_timestep is not None:
            raise ValueError("Ancestral.timesteps is the whole schedule; leave num_steps and first_timestep out")
        object.__setattr__(self, "timesteps", tuple(int(t) for t in self.timesteps))
        if not self.timesteps or any(np.diff(self.timesteps) >= 0):
            raise ValueError(
                f"Ancestral.timesteps is {self.timesteps}; it must strictly decrease and hold at least one"
            )

    def plan(self, schedule: Schedule, num_tokens: int) -> Plan:
        t = np.asarray(self._timesteps(schedule.num_timesteps), np.int32)
        s = np.append(t[1:], -1)
        return Plan(timestep=t, jump=schedule.jumps(t, s), reveal=np.zeros(len(t), np.int32))

    def _timesteps(self, num_timesteps: int) -> Iterable[int]:
        if self.timesteps is not None:
            return self.timesteps
        first = num_timesteps - 1 if self.first_timestep is None else self.first_timestep
        if not 0 <= first < num_timesteps:
            raise ValueError(f"Ancestral.first_timestep is {first}; allowed: 0 to {num_timesteps - 1}")
        count = first + 1 if self.num_steps is None else self.num_steps
        if not 1 <= count <= first + 1:
            raise ValueError(f"Ancestral.num_steps is {count}; from timestep {first} there are 1 to {first + 1} steps")
        if count == 1:
            return [first]
        # rounded half up in whole numbers, so that neighbours never coincide
        return [(2 * first * left + count - 1) // (2 * (count - 1)) for left in range(count - 1, -1, -1)]

    def step(self, call: Plan, log_x0: jax.Array, tokens: jax.Array, noise: Noise, draw: jax.Array) -> jax.Array:
        return draw_posterior(call, log_x0, tokens, noise, draw)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ReferenceFast:
    """The released code's "fast" sampler, kept for exact comparison; ``Ancestral(num_steps)`` is the correct one.

    It visits every (skip_step + 1)-th timestep, asks the network there, and
    draws from the ONE-step posterior of timestep t - skip_step (of t itself
    where t <= skip_step), so fewer tokens are revealed than the noise level says.
    Raises ValueError unless skip_step >= 1.
    """

    skip_step: int = static(default=1)

    def __post_init__(self):
        if self.skip_step < 1:
            raise ValueError(
                f"ReferenceFast.skip_step is {self.skip_step}; it must be at least 1 (Ancestral visits every timestep)"
            )

    def plan(self, schedule: Schedule, num_tokens: int) -> Plan:
        t = list(range(schedule.num_timesteps - 1, -1, -1 - self.skip_step))
        t = np.asarray(t if t[-1] == 0 else [*t, 0], np.int32)
        drawn_at = np.where(t > self.skip_step, t - self.skip_step, t)
        return Plan(timestep=t, jump=schedule.jumps(drawn_at, drawn_at - 1), reveal=np.zeros(len(t), np.int32))

    def step(self, call: Plan, log_x0: jax.Array, tokens: jax.Array, noise: Noise, draw: jax.Array) -> jax.Array:
        return draw_posterior(call, log_x0, tokens, noise, draw)
