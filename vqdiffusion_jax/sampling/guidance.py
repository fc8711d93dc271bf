"""Classifier-free guidance on log p(x_0 | x_t) (improved VQ-Diffusion, "discrete classifier-free guidance")."""

from __future__ import annotations

from numbers import Real

import jax
import jax.core
import jax.numpy as jnp

from ..array_types import LogProbs
from ..diffusion.transitions import LOG_FLOOR, log_softmax

INACTIVE_WITHIN = 1e-3  # of 1: the reference runs no null forward there


@jax.tree_util.register_pytree_node_class
class Guidance:
    """The strength of guidance, the timesteps at which it acts, and the codes among which it chooses.

    scale: 1 is none; more follows the condition more closely; less than 1 is allowed.
    interval: (lowest, highest) timestep, both included, outside which only the conditional forward runs; None for all.
    plausibility: in (0, 1]; codes whose conditional probability is less than this share of the likeliest code's are
    dropped before the scale is applied (``combine``); None drops none.

    All three are traced data: other values recompile nothing, except that None is a program of its own.  ``active`` is
    decided on the host, from the scale given to the constructor, and is static: an inactive Guidance compiles no null
    forward, and drops nothing.
    Raises ValueError if the interval is empty, the scale is not finite or the plausibility lies outside (0, 1].
    """

    __slots__ = ("scale", "interval", "plausibility", "active")

    def __init__(
        self,
        scale: float | jax.Array = 1.0,
        interval: tuple[int, int] | None = None,
        plausibility: float | jax.Array | None = None,
    ):
        if isinstance(scale, Real) and not abs(scale) < float("inf"):
            raise ValueError(f"Guidance.scale is {scale}; it must be a finite number (1 for no guidance)")
        if interval is not None:
            low, high = interval
            if isinstance(low, Real) and isinstance(high, Real) and not 0 <= low <= high:
                told = "it must be (lowest, highest) timestep with 0 <= lowest <= highest"
                raise ValueError(f"Guidance.interval is ({low}, {high}); {told}")
            interval = (low, high)
        if isinstance(plausibility, Real) and not 0.0 < plausibility <= 1.0:
            told = "it must lie in (0, 1] (None drops no code)"
            raise ValueError(f"Guidance.plausibility is {plausibility}; {told}")
        self.scale = scale
        self.interval = interval
        self.plausibility = plausibility
        self.active = isinstance(scale, jax.core.Tracer) or not abs(float(scale) - 1.0) < INACTIVE_WITHIN

    def __repr__(self) -> str:
        return f"Guidance(scale={self.scale!r}, interval={self.interval!r}, plausibility={self.plausibility!r})"

    def tree_flatten(self):
        return (self.scale, self.interval, self.plausibility), self.active

    @classmethod
    def tree_unflatten(cls, active, children):
        new = object.__new__(cls)  # leaves may be anything here, so nothing is validated
        new.scale, new.interval, new.plausibility = children
        new.active = active
        return new

    def applies_at(self, timestep: jax.Array) -> jax.Array:
        """Return True where ``timestep``, () or (batch,), lies inside the interval: bool of its shape."""
        if self.interval is None:
            return jnp.ones(jnp.shape(timestep), bool)
        low, high = self.interval
        return (timestep >= low) & (timestep <= high)


def combine(
    log_cond: LogProbs,
    log_null: LogProbs,
    scale: float | jax.Array,
    plausibility: float | jax.Array | None = None,
) -> LogProbs:
    """Return guided log p(x_0 | x_t): log_null + scale * (log_cond - log_null), normalised and clamped to [-70, 0].

    log_cond, log_null: (..., num_codes) float32, clamped to [-70, 0], as ``predict_start`` gives them.
    plausibility: codes with log_cond < max(log_cond) + ln(plausibility) get -70, and the others share the probability.
    This is the plausibility constraint of contrastive decoding (Li et al. 2022, arXiv:2210.15097, equation 2).  Where
    neither network was trained to tell apart codes that hardly occur, the ratio of their probabilities is noise, which
    a large scale would multiply.
    Returns the same shape.
    """
    mixed = log_null + jnp.asarray(scale, jnp.float32) * (log_cond - log_null)
    if plausibility is not None:
        least = jnp.max(log_cond, axis=-1, keepdims=True) + jnp.log(jnp.asarray(plausibility, jnp.float32))
        mixed = jnp.where(log_cond < least, -jnp.inf, mixed)  # a NaN is not less, and stays
    return jnp.clip(log_softmax(mixed), LOG_FLOOR, 0.0)
