"""A linear schedule that masks and, if asked to, replaces."""

from __future__ import annotations

from . import Cumulative, masked_and_replaced, progress
from .cosine import check_shares


class Linear:
    """A share (t + 1)/T of all tokens is masked at t: the absorbing diffusion of Austin et al. 2021, section 3.

    mask_end: the masked share at the last timestep, a little below 1.
    replaced: the share of unmasked tokens at the last timestep that have become any code, growing linearly with t; 0
    only masks.
    """

    def __init__(self, num_timesteps: int, num_codes: int, *, mask_end: float = 0.99999, replaced: float = 0.0):
        check_shares("linear", mask_end, replaced)
        self._progress, self._mask_end, self._replaced = progress(num_timesteps), mask_end, replaced

    def cumulative(self) -> Cumulative:
        return masked_and_replaced(self._mask_end * self._progress, self._replaced * self._progress)
