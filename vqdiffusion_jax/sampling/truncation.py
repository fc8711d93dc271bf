"""Truncation of p(x_0 | x_t): keep the likeliest codes, set the others to -70 ("truncation sampling" in the paper).

The kept probabilities are not renormalised; a Gumbel draw does not need it.
Only the codes are truncated: the reference's mask row sits at -70, adds less
than float32 can hold to any running sum and is -70 whether kept or dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Real

import jax
import jax.numpy as jnp

from ..diffusion.transitions import LOG_FLOOR


def _keep_largest(log_x0: jax.Array, smallest_kept: jax.Array, kept: jax.Array | int) -> jax.Array:
    """Keep exactly ``kept`` entries of the last axis; among equals the lower index goes first, as in a stable sort.

    Comparing with the smallest kept value needs no permutation, which halves
    the cost of sorting and undoing the sort.
    """
    above = log_x0 > smallest_kept
    tied = log_x0 == smallest_kept
    room = kept - jnp.sum(above, axis=-1, keepdims=True)
    keep = above | (tied & (jnp.cumsum(tied, axis=-1) <= room))
    return jnp.where(keep, log_x0, LOG_FLOOR)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TopR:
    """Keep the fewest likeliest codes whose probabilities reach ``rate``; the one that crosses it is kept.

    rate: in (0, 1], traced data (another rate recompiles nothing).  1.0 still
    drops the far tail, of about 1e-7 in all, where the float32 running sum has
    reached 1: so did the reference.  Raises ValueError if rate is outside (0, 1].
    """

    rate: float | jax.Array

    def __post_init__(self):
        if isinstance(self.rate, Real) and not 0.0 < self.rate <= 1.0:
            raise ValueError(f"TopR.rate is {self.rate}; it must lie in (0, 1] (leave truncation out to keep everything)")

    def __call__(self, log_x0: jax.Array) -> jax.Array:
        """log_x0: (..., num_codes) float32 -> the same shape, dropped codes at -70."""
        ordered = jnp.sort(log_x0, axis=-1, descending=True)
        total = jnp.cumsum(jnp.exp(ordered), axis=-1)
        kept = 1 + jnp.sum(total[..., :-1] < self.rate, axis=-1, keepdims=True)
        return _keep_largest(log_x0, jnp.take_along_axis(ordered, kept - 1, axis=-1), kept)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TopK:
    """Keep the ``k`` likeliest codes (all of them where k >= num_codes).

    k: at least 1, static.  Raises ValueError otherwise.
    """

    k: int = field(metadata={"static": True})

    def __post_init__(self):
        if isinstance(self.k, bool) or not isinstance(self.k, int) or self.k < 1:
            raise ValueError(f"TopK.k is {self.k!r}; it must be a whole number of at least 1")

    def __call__(self, log_x0: jax.Array) -> jax.Array:
        """log_x0: (..., num_codes) float32 -> the same shape, dropped codes at -70."""
        if self.k >= log_x0.shape[-1]:
            return log_x0
        largest, _ = jax.lax.top_k(log_x0, self.k)
        return _keep_largest(log_x0, largest[..., -1:], self.k)


Truncation = TopR | TopK
