"""The protocol of a strategy: the timesteps at which the network is called, and the step after each call.

A strategy is a frozen dataclass, a jax pytree, with two methods:

    plan(schedule, num_tokens) -> Plan                   on the host, in numpy
    step(call, log_x0, tokens, noise, draw) -> tokens    traced

``plan`` lays out every network call beforehand; ``denoise`` scans over it, and ``step`` sees one call's row.  More
members are optional; the protocols below describe them:

    noise_level       (Adaptive) the number of calls depends on the picture
    starting_at       (StartsAnywhere) a run can begin at tokens that carry less noise
    with_calls        (CountsCalls) the strategy with a given number of calls, its other settings kept
    explanation       (Explained) one line for people; by default the first line of the docstring
    usual_share       (EndsEarly) share of the plan's calls that a picture usually takes; by default 1

Settings of a strategy are fields made by ``fields.setting``.  Its flags, its inputs on the page, and its entries in
protocols and in the JSON beside a picture follow from them.  A new strategy is one file, here or in the caller's own
code, and one line in ``registry``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, cast, runtime_checkable

import jax
import numpy as np

from ..array_types import LogProbs, Tokens
from ..diffusion.schedule import Jump, Schedule
from ..errors import SettingError
from ..programs import padded_length
from .noise import Noise

_LEAST_PADDED = 128  # the timesteps of a released model fit, and a row is a few numbers

# Settings that several strategies share.
NUM_INFERENCE_STEPS: dict[str, Any] = dict(
    plan_only=True, type=int, least=1, help="Network calls a picture.", formerly="steps"
)
TIMESTEPS: dict[str, Any] = dict(
    plan_only=True,
    type=int,
    many=True,
    least=0,
    help="Timesteps to visit, from high to low, in place of num_inference_steps.",
    default_help="evenly spaced",
)


def check_timesteps(timesteps: tuple[int, ...] | None, **others: int | None) -> None:
    """Raise SettingError unless ``timesteps`` strictly decrease and stand alone, without any of ``others``."""
    if timesteps is None:
        return
    for name, value in others.items():
        if value is not None:
            raise SettingError(f"{{timesteps}} and {{{name}}} are both given; {{timesteps}} is the whole schedule")
    if any(later >= earlier for earlier, later in zip(timesteps, timesteps[1:])):
        raise SettingError("{timesteps} is {value}; it must strictly decrease", value=timesteps)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Plan:
    """The N network calls of a run; a slice (``plan[:10]``) is a part of the run.

    timestep: (N,) int32, given to the network.
    jump: Jump of (N,) coefficients, from the noise level of the tokens to the next.
    reveal: (N,) int32 tokens to reveal, 0 for a call without a set number.
    extra: any other pytree with leading axis N that the strategy needs.
    """

    timestep: Any
    jump: Jump
    reveal: Any
    extra: Any = None

    def __len__(self) -> int:
        return len(self.timestep)

    def __getitem__(self, index: Any) -> Plan:
        return jax.tree.map(lambda table: table[index], self)

    def call(self, number: jax.Array) -> Plan:
        """Return call ``number``, () int32 and traced."""
        return jax.tree.map(lambda table: jax.lax.dynamic_index_in_dim(table, number, keepdims=False), self)

    def padded(self) -> Plan:
        """Return the plan with its last row repeated, up to one of a few lengths, so that plans share a program."""
        more = padded_length(len(self), least=_LEAST_PADDED) - len(self)
        return jax.tree.map(
            lambda table: np.pad(np.asarray(table), [(0, more)] + [(0, 0)] * (np.ndim(table) - 1), mode="edge"), self
        )


def for_steps(strategy: Any) -> Any:
    """Return the strategy as ``step`` needs it: fields that only ``plan`` reads have their defaults.

    Strategies that differ in these alone then share a program.
    """
    if not dataclasses.is_dataclass(strategy):
        return strategy
    fields = [field for field in dataclasses.fields(strategy) if field.metadata.get("plan_only")]
    changed = {field.name: field.default for field in fields if getattr(strategy, field.name) is not field.default}
    return dataclasses.replace(cast(Any, strategy), **changed) if changed else strategy


@runtime_checkable
class Strategy(Protocol):
    """A strategy, as ``denoise`` uses it."""

    def plan(self, schedule: Schedule, num_tokens: int) -> Plan:
        """Return every network call, in order, as numpy arrays."""
        ...

    def step(self, call: Plan, log_x0: LogProbs, tokens: Tokens, noise: Noise, draw: jax.Array) -> Tokens:
        """Return the next tokens (batch, length) int32 after one call.

        log_x0: (batch, length, num_codes) float32; tokens: (batch, length) int32.
        """
        ...


@runtime_checkable
class Adaptive(Strategy, Protocol):
    """A strategy whose number of calls depends on the picture.

    The network is told each picture's own timestep in place of the plan's.  A clean picture stays as it is, and the
    loop ends when all are clean, or with the plan.
    """

    def noise_level(self, call: Plan, tokens: jax.Array) -> jax.Array:
        """Return the timestep of each picture, (batch,) int32, or -1 for a clean one."""
        ...


@runtime_checkable
class StartsAnywhere(Strategy, Protocol):
    """A strategy that can begin at tokens with less noise than the last timestep's."""

    def starting_at(self, first_timestep: int) -> Self:
        """Return the strategy that begins at ``first_timestep``.  Raises SettingError if it cannot."""
        ...


@runtime_checkable
class CountsCalls(Strategy, Protocol):
    """A strategy whose settings can be chosen for a number of network calls."""

    def with_calls(self, calls: int, num_timesteps: int, num_tokens: int) -> Self:
        """Return this strategy, but so that a picture takes about ``calls`` network calls."""
        ...


@runtime_checkable
class Explained(Protocol):
    """A class of strategies with a line about them for people."""

    explanation: ClassVar[str]


@runtime_checkable
class EndsEarly(Protocol):
    """A class of strategies whose pictures usually take fewer calls than the plan has."""

    usual_share: ClassVar[float]  # of the plan's calls


def usual_calls(strategy: Strategy, plan: Plan) -> int:
    """Return the number of network calls that a picture usually takes."""
    return max(1, round(len(plan) * strategy.usual_share)) if isinstance(strategy, EndsEarly) else len(plan)


def noise_level(strategy: Strategy, call: Plan, tokens: jax.Array) -> jax.Array:
    """Return the timestep of ``tokens``: the plan's, (), or each picture's own, (batch,), of an adaptive strategy."""
    return strategy.noise_level(call, tokens) if isinstance(strategy, Adaptive) else call.timestep
