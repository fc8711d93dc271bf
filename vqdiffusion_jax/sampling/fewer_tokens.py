"""Reveal a set number of masked tokens a call (improved VQ-Diffusion, Algorithms 1 and 2)."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..diffusion.schedule import Schedule
from .ancestral import draw_posterior
from .noise import Noise
from .reveal import choose_positions, default_counts, draw_codes, purity, sharpen, split_count
from .strategy import Plan, static


def _reveal_plan(
    name: str, counts: tuple[int, ...] | None, tokens_per_call: int | None, schedule: Schedule, num_tokens: int
) -> Plan:
    num_timesteps = schedule.num_timesteps
    if counts is None:
        counts = default_counts(num_tokens, num_timesteps, tokens_per_call)
    if len(counts) != num_timesteps:
        raise ValueError(
            f"{name}.counts has {len(counts)} entries; the schedule has {num_timesteps} timesteps, one entry each"
        )
    calls = [(t, count) for t in range(num_timesteps - 1, 0, -1) for count in split_count(counts[t], tokens_per_call)]
    calls.append((0, 0))
    timestep, reveal = np.asarray(calls, np.int32).T
    return Plan(timestep=timestep, jump=schedule.jumps(timestep, timestep - 1), reveal=reveal)


def _check_reveal(strategy: Any) -> None:
    name = type(strategy).__name__
    if strategy.counts is not None:
        object.__setattr__(strategy, "counts", tuple(int(count) for count in strategy.counts))
        if any(count < 0 for count in strategy.counts):
            raise ValueError(f"{name}.counts is {strategy.counts}; a timestep reveals 0 tokens or more")
    if strategy.tokens_per_call is not None and strategy.tokens_per_call < 1:
        raise ValueError(
            f"{name}.tokens_per_call is {strategy.tokens_per_call}; it must be at least 1, or None for no limit"
        )


def _reveal_or_draw(call, log_x0, tokens, noise, draw, score, log_value) -> jax.Array:
    """Reveal call.reveal masked positions with codes from log_value; an ordinary posterior draw where it is 0."""
    num_codes = log_x0.shape[-1]

    def reveal() -> jax.Array:
        value = draw_codes(log_value(), noise, draw)
        chosen = choose_positions(score(), tokens == num_codes, call.reveal, noise.exponential(draw, tokens.shape))
        return jnp.where(chosen, value, tokens)

    return jax.lax.cond(call.reveal > 0, reveal, lambda: draw_posterior(call, log_x0, tokens, noise, draw))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FewerTokens:
    """Reveal a set number of masked tokens a call, at positions drawn evenly (improved VQ-Diffusion, Algorithm 1).

    Codes are drawn from p(x_0) and stay until t = 0, where an ordinary
    posterior draw makes every token anew.

    counts: entry t is how many tokens timestep t reveals (entry 0 is unused);
    None: ``default_counts``.
    tokens_per_call: the most one network call may reveal, several calls a
    timestep making up the count; None: one call.
    No more than the masked tokens are ever revealed.
    """

    counts: tuple[int, ...] | None = static(default=None)
    tokens_per_call: int | None = static(default=None)

    def __post_init__(self):
        _check_reveal(self)

    def plan(self, schedule: Schedule, num_tokens: int) -> Plan:
        return _reveal_plan(type(self).__name__, self.counts, self.tokens_per_call, schedule, num_tokens)

    def step(self, call: Plan, log_x0: jax.Array, tokens: jax.Array, noise: Noise, draw: jax.Array) -> jax.Array:
        return _reveal_or_draw(
            call, log_x0, tokens, noise, draw, lambda: jnp.ones(tokens.shape, jnp.float32), lambda: log_x0
        )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PurityPrior:
    """Reveal the tokens the network is surest of first (improved VQ-Diffusion, Algorithm 2).

    As FewerTokens, but positions are drawn with probability proportional to
    their purity, and codes from p(x_0)^(1 + weight * purity).

    weight: at least 0, traced data; 1 is the authors' choice for ITHQ.
    counts, tokens_per_call: as for FewerTokens.
    """

    weight: float | jax.Array = 1.0
    counts: tuple[int, ...] | None = static(default=None)
    tokens_per_call: int | None = static(default=None)

    def __post_init__(self):
        if isinstance(self.weight, Real) and not 0.0 <= self.weight < float("inf"):
            raise ValueError(f"PurityPrior.weight is {self.weight}; it must be at least 0 and finite")
        _check_reveal(self)

    def plan(self, schedule: Schedule, num_tokens: int) -> Plan:
        return _reveal_plan(type(self).__name__, self.counts, self.tokens_per_call, schedule, num_tokens)

    def step(self, call: Plan, log_x0: jax.Array, tokens: jax.Array, noise: Noise, draw: jax.Array) -> jax.Array:
        return _reveal_or_draw(
            call,
            log_x0,
            tokens,
            noise,
            draw,
            lambda: purity(log_x0),
            lambda: sharpen(log_x0, purity(log_x0), self.weight),
        )
