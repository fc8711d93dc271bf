"""MaskGIT's cosine schedule, as noise."""

from __future__ import annotations

import numpy as np

from ...errors import ConfigError
from . import Cumulative, masked_and_replaced, progress


class Cosine:
    """A share sin(pi/2 (t + 1)/T) of all tokens is masked at t; a uniform t gives MaskGIT's mask ratios.

    Chang et al. 2022, section 3.3: cos(pi r / 2) with r uniform in [0, 1).  Most timesteps are heavily masked.

    mask_end: the masked share at the last timestep, a little below 1.
    replaced: the share of unmasked tokens at the last timestep that have become any code, growing linearly with t; 0
    only masks.
    """

    def __init__(self, num_timesteps: int, num_codes: int, *, mask_end: float = 0.99999, replaced: float = 0.0):
        check_shares("cosine", mask_end, replaced)
        self._progress, self._mask_end, self._replaced = progress(num_timesteps), mask_end, replaced

    def cumulative(self) -> Cumulative:
        mask = self._mask_end * np.sin(0.5 * np.pi * self._progress)
        return masked_and_replaced(mask, self._replaced * self._progress)


def check_shares(name: str, mask_end: float, replaced: float) -> None:
    """Raise ConfigError unless ``mask_end`` lies in (0, 1) and ``replaced`` in [0, 1)."""
    if not 0.0 < mask_end < 1.0:
        raise ConfigError(f"option mask_end of the schedule {name} is {mask_end!r}; it must lie in (0, 1)")
    if not 0.0 <= replaced < 1.0:
        raise ConfigError(f"option replaced of the schedule {name} is {replaced!r}; it must lie in [0, 1)")
