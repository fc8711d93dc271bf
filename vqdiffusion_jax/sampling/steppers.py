"""Step rules: which timesteps the network is asked about, and how tokens follow from its answer.

A strategy is a frozen dataclass, a jax pytree, with two methods:

    plan(schedule, num_tokens) -> Plan           on the host, in numpy
    step(call, log_x0, tokens, noise, draw) -> tokens

``plan`` lays out every network call beforehand; ``denoise`` scans over it and
``step`` sees one call's row.  A new strategy is one new class here or in the
caller's own code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from ..diffusion.schedule import Jump, Schedule
from ..diffusion.transitions import sample_categorical, sample_posterior
from .noise import Noise
from .reveal import REFERENCE_TOKENS, choose_positions, default_counts, purity, sharpen, split_count


def _static(**options) -> Any:
    return field(metadata={"static": True}, **options)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Plan:
    """What each of N network calls is for; slice it (``plan[:10]``) to run a part.

    timestep: (N,) int32 fed to the network.
    jump: Jump of (N,) coefficients, from the noise level of the tokens to the next one.
    reveal: (N,) int32 tokens to reveal; 0 means an ordinary draw from the posterior of ``jump``.
    extra: any pytree with leading axis N that a strategy of one's own needs.
    """

    timestep: Any
    jump: Jump
    reveal: Any
    extra: Any = None

    def __len__(self) -> int:
        return len(self.timestep)

    def __getitem__(self, index: Any) -> Plan:
        return jax.tree.map(lambda table: table[index], self)


class Strategy(Protocol):
    """What ``denoise`` asks of a step rule."""

    def plan(self, schedule: Schedule, num_tokens: int) -> Plan:
        """Every network call, in order, as numpy arrays."""

    def step(self, call: Plan, log_x0: jax.Array, tokens: jax.Array, noise: Noise, draw: jax.Array) -> jax.Array:
        """One call: log_x0 (batch, length, num_codes), tokens (batch, length) int32 -> the next tokens."""


def _draw_posterior(call: Plan, log_x0: jax.Array, tokens: jax.Array, noise: Noise, draw: jax.Array) -> jax.Array:
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

    num_steps: int | None = _static(default=None)
    first_timestep: int | None = _static(default=None)
    timesteps: tuple[int, ...] | None = _static(default=None)

    def __post_init__(self):
        if self.timesteps is None:
            return
        if self.num_steps is not None or self.first_timestep is not None:
            raise ValueError("Ancestral.timesteps is the whole schedule; leave num_steps and first_timestep out")
        object.__setattr__(self, "timesteps", tuple(int(t) for t in self.timesteps))
        if not self.timesteps or any(np.diff(self.timesteps) >= 0):
            raise ValueError(f"Ancestral.timesteps is {self.timesteps}; it must strictly decrease and hold at least one")

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
        return _draw_posterior(call, log_x0, tokens, noise, draw)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ReferenceFast:
    """The released code's "fast" sampler, kept for exact comparison; ``Ancestral(num_steps)`` is the correct one.

    It visits every (skip_step + 1)-th timestep, asks the network there, and
    draws from the ONE-step posterior of timestep t - skip_step (of t itself
    where t <= skip_step), so fewer tokens are revealed than the noise level says.
    Raises ValueError unless skip_step >= 1.
    """

    skip_step: int = _static()

    def __post_init__(self):
        if self.skip_step < 1:
            raise ValueError(f"ReferenceFast.skip_step is {self.skip_step}; it must be at least 1 (Ancestral visits every timestep)")

    def plan(self, schedule: Schedule, num_tokens: int) -> Plan:
        t = list(range(schedule.num_timesteps - 1, -1, -1 - self.skip_step))
        t = np.asarray(t if t[-1] == 0 else [*t, 0], np.int32)
        drawn_at = np.where(t > self.skip_step, t - self.skip_step, t)
        return Plan(timestep=t, jump=schedule.jumps(drawn_at, drawn_at - 1), reveal=np.zeros(len(t), np.int32))

    def step(self, call: Plan, log_x0: jax.Array, tokens: jax.Array, noise: Noise, draw: jax.Array) -> jax.Array:
        return _draw_posterior(call, log_x0, tokens, noise, draw)


def _reveal_plan(name: str, counts: tuple[int, ...] | None, tokens_per_call: int | None, schedule: Schedule, num_tokens: int) -> Plan:
    num_timesteps = schedule.num_timesteps
    if counts is None:
        counts = default_counts(num_tokens, num_timesteps, tokens_per_call)
    if len(counts) != num_timesteps:
        raise ValueError(f"{name}.counts has {len(counts)} entries; the schedule has {num_timesteps} timesteps, one entry each")
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
        raise ValueError(f"{name}.tokens_per_call is {strategy.tokens_per_call}; it must be at least 1, or None for no limit")


def _reveal_or_draw(call, log_x0, tokens, noise, draw, score, log_value) -> jax.Array:
    """Reveal call.reveal masked positions with codes from log_value; an ordinary posterior draw where it is 0."""
    num_codes = log_x0.shape[-1]

    def reveal() -> jax.Array:
        # the mask row of the noise is drawn, as the reference does, but at -70 it never wins
        gumbel = noise.gumbel(draw, (*tokens.shape, num_codes + 1))[..., :num_codes]
        value = sample_categorical(log_value(), gumbel)
        chosen = choose_positions(score(), tokens == num_codes, call.reveal, noise.exponential(draw, tokens.shape))
        return jnp.where(chosen, value, tokens)

    return jax.lax.cond(call.reveal > 0, reveal, lambda: _draw_posterior(call, log_x0, tokens, noise, draw))


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

    counts: tuple[int, ...] | None = _static(default=None)
    tokens_per_call: int | None = _static(default=None)

    def __post_init__(self):
        _check_reveal(self)

    def plan(self, schedule: Schedule, num_tokens: int) -> Plan:
        return _reveal_plan(type(self).__name__, self.counts, self.tokens_per_call, schedule, num_tokens)

    def step(self, call: Plan, log_x0: jax.Array, tokens: jax.Array, noise: Noise, draw: jax.Array) -> jax.Array:
        return _reveal_or_draw(call, log_x0, tokens, noise, draw, lambda: jnp.ones(tokens.shape, jnp.float32), lambda: log_x0)


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
    counts: tuple[int, ...] | None = _static(default=None)
    tokens_per_call: int | None = _static(default=None)

    def __post_init__(self):
        if isinstance(self.weight, Real) and not 0.0 <= self.weight < float("inf"):
            raise ValueError(f"PurityPrior.weight is {self.weight}; it must be at least 0 and finite")
        _check_reveal(self)

    def plan(self, schedule: Schedule, num_tokens: int) -> Plan:
        return _reveal_plan(type(self).__name__, self.counts, self.tokens_per_call, schedule, num_tokens)

    def step(self, call: Plan, log_x0: jax.Array, tokens: jax.Array, noise: Noise, draw: jax.Array) -> jax.Array:
        return _reveal_or_draw(
            call, log_x0, tokens, noise, draw, lambda: purity(log_x0), lambda: sharpen(log_x0, purity(log_x0), self.weight)
        )


def strategy_from_infer_speed(
    infer_speed: float | bool,
    prior_rule: int = 0,
    prior_weight: float = 0.0,
    *,
    num_timesteps: int = 100,
    num_tokens: int = REFERENCE_TOKENS,
) -> Strategy:
    """The step rule that the released inference script's ``infer_speed`` and ``prior_rule`` select.

    infer_speed: False, 0 or in [1, 2): every timestep; below 1: at most
    int(tokens / timesteps * speed) tokens a call, several calls a timestep
    (prior_rule 0 becomes 1); 2 or more: ReferenceFast(int(infer_speed - 1)),
    which ignores the prior.  prior_rule: 0 posterior, 1 FewerTokens, 2 PurityPrior(prior_weight).
    Raises ValueError for a speed too small to reveal one token a call (the
    released code never ends there) and for an unknown prior_rule.
    """
    if prior_rule not in (0, 1, 2):
        raise ValueError(f"prior_rule is {prior_rule!r}; allowed: 0 (posterior), 1 (fewer tokens), 2 (purity)")
    speed = float(infer_speed)
    if not 0.0 <= speed < float("inf"):
        raise ValueError(f"infer_speed is {infer_speed!r}; it must be False or a finite number of at least 0")
    if speed >= 2.0:
        return ReferenceFast(int(speed - 1))
    tokens_per_call = None
    if 0.0 < speed < 1.0:
        tokens_per_call = int(num_tokens // num_timesteps * speed)
        if tokens_per_call < 1:
            least = 1.0 / max(num_tokens // num_timesteps, 1)
            raise ValueError(f"infer_speed={infer_speed} would reveal no token a call; use {least:g} or more, or False for every timestep")
        prior_rule = prior_rule or 1
    if prior_rule == 0:
        return Ancestral()
    if prior_rule == 1:
        return FewerTokens(tokens_per_call=tokens_per_call)
    return PurityPrior(prior_weight, tokens_per_call=tokens_per_call)
