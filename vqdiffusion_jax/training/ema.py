"""Exponential moving average of parameters, for sampling."""

from __future__ import annotations

from typing import Any

import jax
from jax import Array

from .config import EMAConfig


def update_ema(config: EMAConfig, step: Array, ema: Any, parameters: Any) -> Any:
    """Return the average after step number ``step`` (from 0): moved at every ``interval``-th, else as it was.

    It takes a step towards the parameter, so that the average of one that does not change stays the same to the last
    bit.
    """

    def move(ema: Any) -> Any:
        return jax.tree.map(lambda average, value: average + (1.0 - config.decay) * (value - average), ema, parameters)

    return jax.lax.cond((step + 1) % config.interval == 0, move, lambda ema: ema, ema)
