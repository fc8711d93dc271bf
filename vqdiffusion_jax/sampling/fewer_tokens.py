"""Reveal a set number of masked tokens a call (improved VQ-Diffusion, Algorithms 1 and 2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, cast

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import LogProbs, Tokens
from ..diffusion.schedule import Schedule
from ..errors import SettingError
from .ancestral import draw_posterior
from .fields import check_fields, setting
from .noise import Noise
from .reveal import choose_positions, default_counts, draw_codes, purity, sharpen, split_count
from .strategy import Plan

_COUNTS: dict[str, Any] = dict(
    plan_only=True,
    type=int,
    many=True,
    least=0,
    help="Tokens that each timestep reveals, from t = 0 up.",
    default_help="the reference's",
)
_TOKENS_PER_CALL: dict[str, Any] = dict(
    plan_only=True,
    type=int,
    least=1,
    help="Most tokens that a network call reveals.",
    default_help="no limit, one call a timestep",
    formerly="tokens_per_step",
)


class TokensPerCall:
    """Strategies whose number of calls follows from ``tokens_per_call``."""

    def with_calls(self, calls: int, num_timesteps: int, num_tokens: int) -> Self:
        """Return this strategy with about ``calls`` calls a picture; the one at t = 0 reveals none."""
        fields: dict[str, Any] = {"tokens_per_call": -(-num_tokens // max(1, calls - 1)), "counts": None}
        return replace(cast(Any, self), **fields)


def _reveal_plan(
    counts: tuple[int, ...] | None, tokens_per_call: int | None, schedule: Schedule, num_tokens: int
) -> Plan:
    """Return the calls that reveal ``counts`` of each timestep, from the last down, and one at t = 0 that draws all."""
    num_timesteps = schedule.num_timesteps
    if counts is None:
        counts = default_counts(num_tokens, num_timesteps, tokens_per_call)
    if len(counts) != num_timesteps:
        told = "{counts} has {value} entries; the schedule has {num_timesteps} timesteps, one entry each"
        raise SettingError(told, value=len(counts), num_timesteps=num_timesteps)
    calls = [(t, count) for t in range(num_timesteps - 1, 0, -1) for count in split_count(counts[t], tokens_per_call)]
    calls.append((0, 0))
    timestep, reveal = np.asarray(calls, np.int32).T
    return Plan(timestep=timestep, jump=schedule.jumps(timestep, timestep - 1), reveal=reveal)


def _reveal_or_draw(call, log_x0, tokens, noise, draw, score, log_value) -> jax.Array:
    """Reveal call.reveal masked positions, chosen by score(), with codes from log_value(); at 0 draw the posterior."""
    num_codes = log_x0.shape[-1]

    def reveal() -> jax.Array:
        value = draw_codes(log_value(), noise, draw)
        chosen = choose_positions(score(), tokens == num_codes, call.reveal, noise.exponential(draw, tokens.shape))
        return jnp.where(chosen, value, tokens)

    return jax.lax.cond(call.reveal > 0, reveal, lambda: draw_posterior(call, log_x0, tokens, noise, draw))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FewerTokens(TokensPerCall):
    """Reveal a set number of masked tokens a call, at positions drawn evenly (improved VQ-Diffusion, Algorithm 1).

    Codes are drawn from p(x_0) and stay until t = 0, where a posterior draw replaces every token.

    counts: entry t is the number of tokens that timestep t reveals, entry 0 is unused; None for ``default_counts``.
    tokens_per_call: the most tokens that a network call reveals, where a timestep takes several calls; None for one
    call a timestep.
    """

    explanation: ClassVar[str] = "reveals a set number of tokens a call, anywhere"

    counts: tuple[int, ...] | None = setting(**_COUNTS)
    tokens_per_call: int | None = setting(**_TOKENS_PER_CALL)

    def __post_init__(self):
        check_fields(self)

    def plan(self, schedule: Schedule, num_tokens: int) -> Plan:
        return _reveal_plan(self.counts, self.tokens_per_call, schedule, num_tokens)

    def step(self, call: Plan, log_x0: LogProbs, tokens: Tokens, noise: Noise, draw: jax.Array) -> Tokens:
        return _reveal_or_draw(
            call, log_x0, tokens, noise, draw, lambda: jnp.ones(tokens.shape, jnp.float32), lambda: log_x0
        )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PurityPrior(TokensPerCall):
    """Reveal the tokens first that the network is surest of (improved VQ-Diffusion, Algorithm 2).

    As FewerTokens, but positions are drawn with probability proportional to their purity, and codes from
    p(x_0)^(1 + purity_weight * purity), renormalised.

    purity_weight: r of Algorithm 2, at least 0, traced data; 1 is the authors' choice for ITHQ.
    counts, tokens_per_call: as for FewerTokens.
    """

    explanation: ClassVar[str] = "reveals a set number of tokens a call, the surest first"

    purity_weight: float | jax.Array = setting(
        1.0,
        static=False,
        type=float,
        least=0.0,
        help="Preference for sure tokens, and their sharpening: r of Algorithm 2.",
    )
    counts: tuple[int, ...] | None = setting(**_COUNTS)
    tokens_per_call: int | None = setting(**_TOKENS_PER_CALL)

    def __post_init__(self):
        check_fields(self)

    def plan(self, schedule: Schedule, num_tokens: int) -> Plan:
        return _reveal_plan(self.counts, self.tokens_per_call, schedule, num_tokens)

    def step(self, call: Plan, log_x0: LogProbs, tokens: Tokens, noise: Noise, draw: jax.Array) -> Tokens:
        return _reveal_or_draw(
            call,
            log_x0,
            tokens,
            noise,
            draw,
            lambda: purity(log_x0),
            lambda: sharpen(log_x0, purity(log_x0), self.purity_weight),
        )
