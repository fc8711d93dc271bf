"""The reference's learning rates, warm-up and then a plateau or a cosine, as pure functions of a small state.

    state = init(config)
    rate = state.rate                            # for the step about to be taken
    state = update(config, state, mean_loss)    # after it

The plateau reads the mean loss over all devices, once a step.  The reference feeds every process its own loss, so that
its ranks may come to differ.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from .config import LearningRateConfig

SMALLEST_CHANGE = 1e-8  # a reduction by less than this is not made


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LearningRateState:
    """The state of a learning rate's schedule (a pytree of scalars)."""

    steps: Array  # int32, steps taken
    rate: Array  # float32, of the next step
    best: Array  # float32, lowest loss that counted as an improvement
    bad: Array  # int32, steps since then


def init(config: LearningRateConfig) -> LearningRateState:
    """Return the state before the first step, which is taken at ``config.start``."""
    return LearningRateState(
        steps=jnp.zeros((), jnp.int32),
        rate=jnp.asarray(config.start, jnp.float32),
        best=jnp.asarray(jnp.inf, jnp.float32),
        bad=jnp.zeros((), jnp.int32),
    )


def update(config: LearningRateConfig, state: LearningRateState, loss: Array) -> LearningRateState:
    """Return the state after a step whose mean loss over all devices was ``loss`` ()."""
    steps = state.steps + 1
    after = {"plateau": _plateau, "cosine": _cosine}[config.schedule](
        config, state, steps, jnp.asarray(loss, jnp.float32)
    )
    # The cosine's warm-up takes one increment more than it has steps, as the reference counts.
    last = config.warmup_steps + (config.schedule == "cosine")
    warming = LearningRateState(steps, _warm(config, steps), state.best, state.bad)
    return jax.tree.map(lambda warm, rest: jnp.where(steps <= last, warm, rest), warming, after)


def resumed(
    before: LearningRateConfig, config: LearningRateConfig, state: LearningRateState, *, forget: bool = False
) -> LearningRateState:
    """Return the state of a run that goes on with another configuration than ``before``, its rate included.

    A warm-up and a cosine give the rate of their step.  A plateau goes on from its present rate; after a warm-up that
    has ended meanwhile, from another peak or from a cosine it begins anew at ``config.peak``.
    forget: compare with no loss from before.
    """
    steps = state.steps
    cosine = config.schedule == "cosine"
    if int(steps) <= config.warmup_steps + cosine and config.warmup_steps:
        rate = _warm(config, steps)
    elif cosine:
        rate = _cosine(config, state, steps, jnp.float32(0)).rate
    else:
        was_warming = 0 < int(steps) <= before.warmup_steps
        if was_warming or before.peak != config.peak or before.schedule != config.schedule:
            rate, forget = jnp.float32(config.peak), True
        else:
            rate = jnp.maximum(state.rate, jnp.float32(min(config.floor, config.peak)))
    new = LearningRateState(steps, jnp.asarray(rate, jnp.float32), state.best, state.bad)
    if forget:
        new = dataclasses.replace(new, best=jnp.asarray(jnp.inf, jnp.float32), bad=jnp.zeros((), jnp.int32))
    return new


def _warm(config: LearningRateConfig, steps: Array | float) -> Array:
    slope = (config.peak - config.start) / max(config.warmup_steps, 1)
    return jnp.asarray(config.start + slope * steps, jnp.float32)


def _plateau(config: LearningRateConfig, state: LearningRateState, steps: Array, loss: Array) -> LearningRateState:
    # Without a warm-up the first step would otherwise go on from config.start.
    rate = jnp.where(state.steps == 0, jnp.float32(config.peak), state.rate) if config.warmup_steps == 0 else state.rate
    better = loss < state.best * (1.0 - config.threshold)
    bad = jnp.where(better, 0, state.bad + 1)
    tired = bad > config.patience
    reduced = jnp.maximum(rate * config.factor, config.floor)
    rate = jnp.where(tired & (rate - reduced > SMALLEST_CHANGE), reduced, rate)
    return LearningRateState(steps, rate, jnp.where(better, loss, state.best), jnp.where(tired, 0, bad))


def _cosine(config: LearningRateConfig, state: LearningRateState, steps: Array, loss: Array) -> LearningRateState:
    # cos^2 of the half angle, not (1 + cos) / 2, which cancels where the rate is lowest.
    progress = (steps - 1 - config.warmup_steps) / max(config.total_steps - config.warmup_steps, 1)
    half_angle = 0.5 * math.pi * jnp.clip(progress, 0.0, 1.0)
    top = _warm(config, config.warmup_steps + 1) if config.warmup_steps else jnp.float32(config.peak)
    rate = jnp.maximum(top * jnp.square(jnp.cos(half_angle)), config.floor)
    return LearningRateState(steps, rate.astype(jnp.float32), state.best, state.bad)
