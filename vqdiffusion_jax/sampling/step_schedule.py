"""Which timesteps a short run should visit: those of the least variational bound, found by dynamic programming.

Watson et al. 2021, "Learning to Efficiently Sample from Diffusion
Probabilistic Models": the bound of a run is the sum over its jumps, so the
best run of n jumps ends in a best run of n - 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..diffusion.schedule import Schedule
from ..errors import SettingError


def best_timesteps(terms: np.ndarray, schedule: Schedule, num_inference_steps: int) -> tuple[int, ...]:
    """Return the timesteps, from the last one down, whose run has the least bound: for ``Ancestral(timesteps=...)``.

    terms: (num_timesteps,) what each timestep adds to the bound when every one is visited, in any unit, as
    ``evaluation.likelihood`` measures it.  Raises ValueError for terms or steps that do not fit the schedule.
    """
    costs = _jump_costs(terms, schedule)
    last = schedule.num_timesteps - 1
    if not 1 <= num_inference_steps <= last + 1:
        told = "{num_inference_steps} is {value}; there are 1 to {most} timesteps to visit"
        raise SettingError(told, value=num_inference_steps, most=last + 1)
    # Of a run from each timestep to clean data, in as many jumps as the loop has counted.
    least, chosen = costs[:, 0], []
    for _ in range(num_inference_steps - 1):
        through = costs[:, 1:] + least[None, :]
        chosen.append(through.argmin(axis=1))
        least = through.min(axis=1)
    run = [last]
    for following in reversed(chosen):
        run.append(int(following[run[-1]]))
    return tuple(run)


def bound_of(timesteps: Sequence[int], terms: np.ndarray, schedule: Schedule) -> float:
    """The bound, without its prior, of a run that visits these strictly decreasing timesteps, in the unit of ``terms``."""
    t = np.asarray(timesteps)
    return float(_jump_costs(terms, schedule)[t, np.append(t[1:], -1) + 1].sum())


def _jump_costs(terms: np.ndarray, schedule: Schedule) -> np.ndarray:
    """What the jump from timestep t to s adds to the bound: (T, T + 1) float64, column s + 1, infinite unless s < t.

    The network's guess at t is judged on the tokens that the jump reveals,
    which are C_t - C_s of all: so many times what the step to t - 1 costs as
    it reveals more tokens than that step.  The last jump does what the jump to
    timestep 0 and the decoder's step after it would do, which draws every token anew.
    """
    terms = np.asarray(terms, np.float64)
    if terms.shape != (schedule.num_timesteps,) or not np.isfinite(terms).all():
        raise ValueError(
            f"terms have shape {terms.shape}; give {schedule.num_timesteps} finite numbers, one a timestep"
        )
    mask = schedule.cum_mask[:-1]
    each = np.append(0.0, terms[1:] / np.diff(mask))  # of revealing all tokens by the guess at t
    costs = each[:, None] * (mask[:, None] - np.append(mask[0], mask)[None, :])
    costs[:, 0] += terms[0]
    return np.where(np.tri(*costs.shape, dtype=bool), costs, np.inf)
