"""Noise schedules by name, one small file each, or by the name of a class that lies elsewhere."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from ...config import SCHEDULES, ScheduleConfig
from ...errors import ConfigError
from ...extensions import check_options, check_trusted, load_class

_ROUNDING = 1e-15  # of probabilities that are computed in float64


class Cumulative(NamedTuple):
    """Probabilities of q(x_t | x_0), each (num_timesteps,) float64; the three sum to 1 at every t."""

    keep: np.ndarray  # the token stays, on top of being replaced by itself
    replace: np.ndarray  # it becomes any code, all alike: alpha1 gives 1e-6 at every t, a schedule that only masks 0
    mask: np.ndarray  # it becomes [MASK]


class NoiseSchedule(Protocol):
    """The class that ``ScheduleConfig.name`` stands for; ``options`` are keyword-only parameters of its ``__init__``.

    Its first timestep is nearly clean and its last nearly all [MASK], from which sampling starts.  ``keep`` and
    ``mask`` lie in (0, 1); with t, ``keep`` never grows, and neither ``mask`` nor the replaced share of unmasked
    tokens, replace / (keep + replace), ever falls: the steps between would need negative probabilities.
    """

    def __init__(self, num_timesteps: int, num_codes: int, **options): ...

    def cumulative(self) -> Cumulative:
        """Return the probabilities of all timesteps."""
        ...


def cumulative_of(config: ScheduleConfig) -> Cumulative:
    """Return the probabilities that ``config`` names.

    Raises ConfigError, one line, for a class that is not trusted or cannot be imported, an unknown option, or
    probabilities that belong to no mask-and-replace process.
    """
    check_trusted(config.name, "ScheduleConfig.name")
    cls = load_class(
        config.name,
        SCHEDULES,
        __name__,
        where="ScheduleConfig.name",
        kind="noise schedule",
        methods=("cumulative",),
        see="NoiseSchedule in vqdiffusion_jax/diffusion/schedules/__init__.py",
    )
    options = config.arguments()
    check_options(cls, config.name, options)
    made = cls(config.num_timesteps, config.num_codes, **options).cumulative()
    cumulative = Cumulative(*(np.asarray(array, np.float64) for array in made))
    _check(cumulative, config)
    return cumulative


def masked_and_replaced(mask: np.ndarray, replaced_share: np.ndarray) -> Cumulative:
    """Return the schedule that masks ``mask`` (T,) of all tokens and replaces ``replaced_share`` (T,) of the others."""
    return Cumulative((1.0 - mask) * (1.0 - replaced_share), (1.0 - mask) * replaced_share, mask)


def progress(num_timesteps: int) -> np.ndarray:
    """Return (t + 1) / T, the part of the noise that is added by timestep t: (num_timesteps,) float64."""
    return np.arange(1, num_timesteps + 1) / num_timesteps


def _check(cumulative: Cumulative, config: ScheduleConfig) -> None:
    """Raise ConfigError unless the probabilities belong to a mask-and-replace process."""
    keep, replace, mask = cumulative
    expected = (config.num_timesteps,)
    for name, array in zip(Cumulative._fields, cumulative, strict=True):
        if array.shape != expected:
            raise ConfigError(
                f"the schedule {config.name!r} gives {name} of shape {array.shape}; it must be {expected}"
            )
    good = {
        "keep must lie in (0, 1)": (keep > 0.0) & (keep < 1.0),
        "mask must lie in (0, 1)": (mask > 0.0) & (mask < 1.0),
        "replace must lie in [0, 1)": (replace >= 0.0) & (replace < 1.0),
        "keep, replace and mask must sum to 1": np.abs(keep + replace + mask - 1.0) < 1e-9,
        "keep must not grow with t": np.append(True, np.diff(keep) <= _ROUNDING),
        "mask must not shrink with t": np.append(True, np.diff(mask) >= -_ROUNDING),
        "the replaced share of unmasked tokens must not shrink with t, which needs a negative probability": np.append(
            True, replace[1:] * (1.0 - mask[:-1]) >= replace[:-1] * (1.0 - mask[1:]) - _ROUNDING
        ),
    }
    for rule, kept in good.items():
        if not kept.all():
            t = int(np.argmin(kept))
            raise ConfigError(
                f"the schedule {config.name!r} has keep={keep[t]:.6g}, replace={replace[t]:.6g}, mask={mask[t]:.6g} "
                f"at t={t}; {rule}"
            )
