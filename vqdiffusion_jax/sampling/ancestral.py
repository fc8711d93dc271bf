"""The posterior p(x_s | x_t) as a step rule: exact for any number of steps, and as in the released code's fast mode."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

import jax
import numpy as np

from ..array_types import LogProbs, Tokens
from ..diffusion.schedule import Schedule
from ..diffusion.transitions import sample_posterior
from ..errors import SettingError
from .fields import check_fields, setting
from .noise import Noise
from .strategy import NUM_INFERENCE_STEPS, TIMESTEPS, Plan, check_timesteps


def draw_posterior(call: Plan, log_x0: LogProbs, tokens: Tokens, noise: Noise, draw: jax.Array) -> Tokens:
    """Return tokens (batch, length) int32 drawn from p(x_s | x_t) of ``call.jump``."""
    return sample_posterior(log_x0, tokens, call.jump, noise.gumbel(draw, (*tokens.shape, log_x0.shape[-1] + 1)))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Ancestral:
    """The exact posterior p(x_s | x_t) in any number of steps; one a timestep is the paper's sampler.

    num_inference_steps: network calls, at timesteps spaced evenly from first_timestep to 0; the last jump ends at clean
    data.  None for one a timestep.
    first_timestep: the timestep to begin at, None for the last.  Tokens of a lower one carry less noise (see
    ``editing``).  From an all-mask start, first_timestep = n - 1 is what diffusers means by num_inference_steps = n.
    timesteps: a strictly decreasing schedule in place of both.
    Raises SettingError for a schedule that does not strictly decrease, and in ``plan`` for timesteps that the model
    does not have.
    """

    explanation: ClassVar[str] = "the exact posterior, in any number of steps"

    num_inference_steps: int | None = setting(**NUM_INFERENCE_STEPS, default_help="one for every timestep")
    first_timestep: int | None = setting(
        plan_only=True, type=int, least=0, help="Timestep to begin at.", default_help="the last"
    )
    timesteps: tuple[int, ...] | None = setting(**TIMESTEPS)

    def __post_init__(self):
        check_fields(self)
        others = {"num_inference_steps": self.num_inference_steps, "first_timestep": self.first_timestep}
        check_timesteps(self.timesteps, **others)

    def starting_at(self, first_timestep: int) -> Ancestral:
        """Return this strategy for tokens that carry the noise of ``first_timestep``.

        Raises SettingError if its own settings already name the first timestep.
        """
        if self.timesteps is not None:
            raise SettingError("{timesteps} and {strength} are both given; {timesteps} is the whole schedule")
        if self.first_timestep is not None:
            raise SettingError("{first_timestep} and {strength} are both given; give one")
        return replace(self, first_timestep=first_timestep)

    def with_calls(self, calls: int, num_timesteps: int, num_tokens: int) -> Ancestral:
        most = num_timesteps if self.first_timestep is None else self.first_timestep + 1
        return replace(self, num_inference_steps=min(calls, most), timesteps=None)

    def plan(self, schedule: Schedule, num_tokens: int) -> Plan:
        t = np.asarray(self._timesteps(schedule.num_timesteps), np.int32)
        s = np.append(t[1:], -1)
        return Plan(timestep=t, jump=schedule.jumps(t, s), reveal=np.zeros(len(t), np.int32))

    def _timesteps(self, num_timesteps: int) -> Iterable[int]:
        if self.timesteps is not None:
            if self.timesteps[0] >= num_timesteps:
                allowed = f"timesteps from {num_timesteps - 1} down to 0"
                raise SettingError(
                    "{timesteps} is {value}; it must be {allowed}", value=self.timesteps, allowed=allowed
                )
            return self.timesteps
        first = num_timesteps - 1 if self.first_timestep is None else self.first_timestep
        if not 0 <= first < num_timesteps:
            allowed = f"a timestep from 0 to {num_timesteps - 1}"
            raise SettingError("{first_timestep} is {value}; it must be {allowed}", value=first, allowed=allowed)
        count = first + 1 if self.num_inference_steps is None else self.num_inference_steps
        if count > first + 1:
            most = first + 1
            told = "{num_inference_steps} is {value}; from timestep {first} there are 1 to {most} steps"
            raise SettingError(told, value=count, first=first, most=most)
        if count == 1:
            return [first]
        # Rounded half up in whole numbers, so that neighbours never coincide.
        return [(2 * first * left + count - 1) // (2 * (count - 1)) for left in range(count - 1, -1, -1)]

    def step(self, call: Plan, log_x0: LogProbs, tokens: Tokens, noise: Noise, draw: jax.Array) -> Tokens:
        return draw_posterior(call, log_x0, tokens, noise, draw)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ReferenceFast:
    """The released code's "fast" sampler, for exact comparison; ``Ancestral(num_inference_steps)`` is the correct one.

    The network is called at every (skip_step + 1)-th timestep t, and the tokens are drawn from the one-step posterior
    of timestep t - skip_step (of t where t <= skip_step).  Fewer tokens are therefore revealed than the noise level
    asks for.
    Raises SettingError unless skip_step >= 1.
    """

    explanation: ClassVar[str] = (
        "the released code's shortcut: skips timesteps, but reveals fewer tokens than it should"
    )

    skip_step: int = setting(
        1,
        plan_only=True,
        type=int,
        least=1,
        help="Timesteps skipped after each step (the reference's infer_speed minus 1).",
    )

    def __post_init__(self):
        check_fields(self)

    def with_calls(self, calls: int, num_timesteps: int, num_tokens: int) -> ReferenceFast:
        return replace(self, skip_step=max(1, round(num_timesteps / calls) - 1))

    def plan(self, schedule: Schedule, num_tokens: int) -> Plan:
        t = list(range(schedule.num_timesteps - 1, -1, -1 - self.skip_step))
        t = np.asarray(t if t[-1] == 0 else [*t, 0], np.int32)
        drawn_at = np.where(t > self.skip_step, t - self.skip_step, t)
        return Plan(timestep=t, jump=schedule.jumps(drawn_at, drawn_at - 1), reveal=np.zeros(len(t), np.int32))

    def step(self, call: Plan, log_x0: LogProbs, tokens: Tokens, noise: Noise, draw: jax.Array) -> Tokens:
        return draw_posterior(call, log_x0, tokens, noise, draw)
