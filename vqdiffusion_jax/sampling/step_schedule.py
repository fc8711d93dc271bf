"""The timesteps of the least variational bound for a short run, found by dynamic programming.

Watson et al. 2021, "Learning to Efficiently Sample from Diffusion Probabilistic Models": the bound of a run is a sum
over its jumps, so the best run of n jumps ends in a best run of n - 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ..diffusion.schedule import Schedule
from ..errors import SettingError


def best_timesteps(terms: ArrayLike, schedule: Schedule, num_inference_steps: int) -> tuple[int, ...]:
    """Return the timesteps, from the last down, whose run has the least bound, for ``Ancestral(timesteps=...)``.

    terms: (num_timesteps,) term of the bound for each timestep of a run that visits all, in any unit, as
    ``evaluation.likelihood`` measures it.
    Raises ValueError for terms or steps that do not fit the schedule.
    """
    costs = _jump_costs(terms, schedule)
    last = schedule.num_timesteps - 1
    if not 1 <= num_inference_steps <= last + 1:
        told = "{num_inference_steps} is {value}; there are 1 to {most} timesteps to visit"
        raise SettingError(told, value=num_inference_steps, most=last + 1)
    # least: the bound of the best run from each timestep to clean data, one jump longer after every turn of the loop.
    least, chosen = costs[:, 0], []
    for _ in range(num_inference_steps - 1):
        through = costs[:, 1:] + least[None, :]
        chosen.append(through.argmin(axis=1))
        least = through.min(axis=1)
    run = [last]
    for following in reversed(chosen):
        run.append(int(following[run[-1]]))
    return tuple(run)


def bound_of(timesteps: Sequence[int], terms: ArrayLike, schedule: Schedule) -> float:
    """Return the bound, without its prior, of a run that visits these strictly decreasing timesteps.

    terms: as for ``best_timesteps``, whose unit the bound has.
    """
    t = np.asarray(timesteps)
    return float(_jump_costs(terms, schedule)[t, np.append(t[1:], -1) + 1].sum())


def _jump_costs(terms: ArrayLike, schedule: Schedule) -> np.ndarray:
    """Return the term of the bound for a jump from timestep t to s: (T, T + 1) float64, [t, s + 1], infinite if s >= t.

    The network's guess at t is judged on the tokens that the jump reveals, a share C_t - C_s of all.  The step to t - 1
    reveals C_t - C_(t-1), so its cost is scaled by the ratio of the two.  The last jump is charged as the jump to
    timestep 0 and the decoder's step after it, in which every token is drawn anew.
    """
    each = np.asarray(terms, np.float64)
    if each.shape != (schedule.num_timesteps,) or not np.isfinite(each).all():
        raise ValueError(f"terms have shape {each.shape}; give {schedule.num_timesteps} finite numbers, one a timestep")
    mask = schedule.cum_mask[:-1]
    whole = np.append(0.0, each[1:] / np.diff(mask))  # the cost of revealing all tokens by the guess at t
    costs = whole[:, None] * (mask[:, None] - np.append(mask[0], mask)[None, :])
    costs[:, 0] += each[0]
    return np.where(np.tri(*costs.shape, dtype=bool), costs, np.inf)
