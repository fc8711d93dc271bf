"""What a step rule is: which timesteps the network is asked about, and how tokens follow from its answer.

A strategy is a frozen dataclass, a jax pytree, with two methods:

    plan(schedule, num_tokens) -> Plan           on the host, in numpy
    step(call, log_x0, tokens, noise, draw) -> tokens

``plan`` lays out every network call beforehand; ``denoise`` scans over it and
``step`` sees one call's row.  Where the number of calls depends on the picture
there is a third method:

    noise_level(call, tokens) -> (batch,) int32 timesteps, -1 for a clean picture

The network is then told each picture's own timestep in place of the plan's, a
clean picture stays as it is, and the loop ends when all are clean or the plan
is at its end.  A new strategy is one file here or in the caller's own code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import jax

from ..diffusion.schedule import Jump, Schedule
from .noise import Noise


def static(**options) -> Any:
    """A field of a strategy that shapes the plan or the program: another value compiles anew."""
    return field(metadata={"static": True}, **options)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Plan:
    """What each of N network calls is for; slice it (``plan[:10]``) to run a part.

    timestep: (N,) int32 fed to the network.
    jump: Jump of (N,) coefficients, from the noise level of the tokens to the next one.
    reveal: (N,) int32 tokens to reveal; 0 where the call has no set number of them.
    extra: any pytree with leading axis N that a strategy needs besides.
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


def noise_level(strategy: Strategy, call: Plan, tokens: jax.Array) -> jax.Array:
    """The timestep of ``tokens``: the plan's, (), or each picture's own, (batch,), where the strategy tells them apart."""
    return strategy.noise_level(call, tokens) if hasattr(strategy, "noise_level") else call.timestep
