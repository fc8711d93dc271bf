"""The noise schedule: mask-and-replace transition probabilities at every timestep.

They are computed once, on the host, in float64; devices get float32 tables of their logarithms.  A one-step replacement
probability can be as small as 3e-12 beside a keep probability near 1, which float32 cannot resolve.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..config import ScheduleConfig
from .schedules import cumulative_of


def host_values(array: Any) -> np.ndarray | None:
    """Return ``array`` as numpy, for checks; None while it is traced, or if it is spread over several hosts."""
    if isinstance(array, Tracer) or not getattr(array, "is_fully_addressable", True):
        return None
    return np.asarray(array)


def _check_index(index: Any, length: int) -> None:
    # As numpy does with a numpy index; JAX would clamp it.
    values = host_values(index) if isinstance(index, jax.Array | np.ndarray | int | np.integer) else None
    if values is not None and values.dtype.kind in "iu":
        wrong = values[(values < -length) | (values >= length)]
        if wrong.size:
            raise IndexError(f"index {wrong[0]} is out of range for a table of {length} timesteps")


def _gather(table: Any, index: Any) -> Any:
    if jnp.ndim(table):
        _check_index(index, table.shape[0])
    if isinstance(table, np.ndarray) and isinstance(index, (int, slice, np.integer, np.ndarray)):
        return table[index]  # stays on the host, and an index out of range is an error
    return jnp.asarray(table)[index]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Kernel:
    """Log probabilities of a mask-and-replace transition, float32, all of one shape (a pytree).

    A code stays itself with probability ``keep`` (on top of replacement), becomes any one given code with probability
    ``uniform``, and [MASK] with probability ``mask``; [MASK] stays [MASK] (paper section 4.1).
    """

    log_keep: Any  # ln a
    log_uniform: Any  # ln b, per code: a + K b + c = 1
    log_mask: Any  # ln c
    log_not_mask: Any  # ln (1 - c)

    def __getitem__(self, index: Any) -> Kernel:
        """Gather along the leading axis.

        An index out of range raises IndexError; under jit, where it has no value, it is clamped.
        """
        return jax.tree.map(lambda table: _gather(table, index), self)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Jump:
    """The kernels of the posterior q(x_s | x_t, x_0) for s < t, all of one shape (a pytree)."""

    marginal_t: Kernel  # q(x_t | x_0)
    transition: Kernel  # q(x_t | x_s)
    marginal_s: Kernel  # q(x_s | x_0)
    replaces: bool = field(default=True, metadata={"static": True})  # False: an unmasked token is x_0 for certain

    def __getitem__(self, index: Any) -> Jump:
        """Gather along the leading axis."""
        return jax.tree.map(lambda table: _gather(table, index), self)


@dataclass(frozen=True, eq=False)
class Schedule:
    """Transition probabilities on the host, numpy float64; made by ``make_schedule``.

    One-step arrays have shape (T,).  Cumulative ones have shape (T + 1,): entry t belongs to q(x_t | x_0), and the last
    one, reached with index -1, is the identity, so that t = -1 means clean data.
    """

    config: ScheduleConfig
    keep: np.ndarray
    uniform: np.ndarray
    mask: np.ndarray
    cum_keep: np.ndarray
    cum_uniform: np.ndarray
    cum_mask: np.ndarray

    @property
    def num_timesteps(self) -> int:
        return self.config.num_timesteps

    @property
    def num_codes(self) -> int:
        return self.config.num_codes

    @property
    def replaces(self) -> bool:
        """True if tokens are replaced at all, however rarely; False if noise only masks them."""
        return bool(self.cum_uniform.any())

    def marginals(self) -> Kernel:
        """Return q(x_t | x_0) for t = 0 .. T - 1 and, at index -1, the identity: Kernel of shape (T + 1,)."""
        return _kernel(self.cum_keep, self.cum_uniform, self.cum_mask)

    def steps(self) -> Kernel:
        """Return q(x_t | x_{t-1}) for t = 0 .. T - 1: Kernel of shape (T,)."""
        return _kernel(self.keep, self.uniform, self.mask)

    def jumps(self, t: Any, s: Any) -> Jump:
        """Return the jumps from timesteps ``t`` back to ``s``, of any common shape; ``s = -1`` reaches clean data.

        ``s = t - 1`` is the ordinary step; a smaller ``s`` is the strided posterior (paper section 4.2, fast
        inference), with the transition composed in float64.  Raises ValueError unless -1 <= s < t < T.
        """
        t, s = np.broadcast_arrays(np.asarray(t), np.asarray(s))
        for name, value in (("t", t), ("s", s)):
            if not np.issubdtype(value.dtype, np.integer):
                raise ValueError(f"Schedule.jumps: {name} has dtype {value.dtype}; give whole numbers")
        wrong = ~((s >= -1) & (s < t) & (t < self.num_timesteps))
        if wrong.any():
            raise ValueError(
                f"Schedule.jumps: cannot go from t={t[wrong][0]} to s={s[wrong][0]}; "
                f"need -1 <= s < t <= {self.num_timesteps - 1}"
            )
        marginals = self.marginals()
        composed = _compose(self.cum_keep, self.cum_uniform, self.cum_mask, _denominator(self.config), t, s)
        return Jump(
            marginal_t=marginals[t], transition=_kernel(*composed), marginal_s=marginals[s], replaces=self.replaces
        )

    def one_step_jumps(self) -> Jump:
        """Return the jumps from every t to t - 1: Jump of shape (T,), to be indexed by t."""
        t = np.arange(self.num_timesteps)
        return self.jumps(t, t - 1)


def make_schedule(config: ScheduleConfig) -> Schedule:
    """Return the tables of the schedule that ``config`` names, in float64.

    Raises ConfigError, one line, for a schedule that cannot be imported or has impossible probabilities (see
    ``schedules``).
    """
    cumulative = cumulative_of(config)
    denominator = _denominator(config)
    cum_keep, cum_mask = np.append(cumulative.keep, 1.0), np.append(cumulative.mask, 0.0)
    cum_uniform = np.append(cumulative.replace, 0.0) / denominator
    t = np.arange(config.num_timesteps)
    keep, uniform, mask = _compose(cum_keep, cum_uniform, cum_mask, denominator, t, t - 1)
    arrays = {
        "keep": keep,
        "uniform": uniform,
        "mask": mask,
        "cum_keep": cum_keep,
        "cum_uniform": cum_uniform,
        "cum_mask": cum_mask,
    }
    for array in arrays.values():
        array.flags.writeable = False
    return Schedule(config=config, **arrays)


def check_timesteps(t: Any, num_timesteps: int) -> None:
    """Raise ValueError, naming the value and the range, unless every t is a whole number in 0 .. num_timesteps - 1.

    For the host: under ``jax.jit`` arrays have no values yet and pass unchecked.
    """
    t = host_values(t)
    if t is None:
        return
    if not np.issubdtype(t.dtype, np.integer):
        raise ValueError(f"timesteps have dtype {t.dtype}; give whole numbers from 0 to {num_timesteps - 1}")
    wrong = t[(t < 0) | (t >= num_timesteps)]
    if wrong.size:
        raise ValueError(f"timestep {wrong[0]} is out of range; allowed: 0 to {num_timesteps - 1}")


def _denominator(config: ScheduleConfig) -> int:
    return config.num_codes + (config.denominator == "num_codes_plus_one")


def _compose(
    cum_keep: np.ndarray, cum_uniform: np.ndarray, cum_mask: np.ndarray, denominator: int, t: np.ndarray, s: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (keep, uniform, mask) of q(x_t | x_s), float64, for index arrays t > s >= -1.

    The obvious 1 - keep - mask loses nearly every digit of a replacement probability near 1e-9.  With C the cumulative
    mask, R the cumulative replacement in total and A = 1 - C - R it equals, digit for digit, [(1 - C_s)(R_t - R_s) +
    (C_t - C_s) R_s] / [(1 - C_s) A_s].
    """
    keep_s, mask_s, replaced_s = cum_keep[s], cum_mask[s], cum_uniform[s] * denominator
    mask_gain, replaced_gain = cum_mask[t] - mask_s, cum_uniform[t] * denominator - replaced_s
    replaced = ((1.0 - mask_s) * replaced_gain + mask_gain * replaced_s) / ((1.0 - mask_s) * keep_s)
    return cum_keep[t] / keep_s, np.maximum(replaced, 0.0) / denominator, mask_gain / (1.0 - mask_s)


def _kernel(keep: np.ndarray, uniform: np.ndarray, mask: np.ndarray) -> Kernel:
    with np.errstate(divide="ignore"):  # the identity has ln 0
        logs = (np.log(keep), np.log(uniform), np.log(mask), np.log1p(-mask))
    return Kernel(*(np.asarray(log, np.float32) for log in logs))
