"""The reference's schedule, which it calls alpha1."""

from __future__ import annotations

import numpy as np

from . import Cumulative


class Alpha1:
    """Linear ramps of the cumulative keep and mask probabilities (paper section 4.1).

    With a single timestep, that step goes straight to the ``*_end`` values.
    """

    def __init__(
        self,
        num_timesteps: int,
        num_codes: int,
        *,
        keep_start: float,
        keep_end: float,
        mask_start: float,
        mask_end: float,
    ):
        self._ramp = np.arange(num_timesteps) / (num_timesteps - 1) if num_timesteps > 1 else np.ones(1)
        self._keep, self._mask = (keep_start, keep_end), (mask_start, mask_end)

    def cumulative(self) -> Cumulative:
        (keep_start, keep_end), (mask_start, mask_end) = self._keep, self._mask
        # Interpolated rather than 1 - keep - mask entry by entry: its rounding would differ from step to step and swamp
        # the small differences that the schedule takes between timesteps.
        replace = self._along(1.0 - keep_start - mask_start, 1.0 - keep_end - mask_end)
        return Cumulative(self._along(keep_start, keep_end), replace, self._along(mask_start, mask_end))

    def _along(self, start: float, end: float) -> np.ndarray:
        return self._ramp * (end - start) + start
