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


def _in_order(x: jax.Array) -> jax.Array:
    """float32 -> int32 in the same order, or back: halving between two such numbers ends after 32 times at most."""
    bits = x if x.dtype == jnp.int32 else jax.lax.bitcast_convert_type(x, jnp.int32)
    flipped = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return flipped if x.dtype == jnp.float32 else jax.lax.bitcast_convert_type(flipped, jnp.float32)


def _halve(low: jax.Array, high: jax.Array, high_will_do) -> jax.Array:
    """The smallest whole number above ``low`` that will do, row by row, given that ``high`` will (all int32)."""

    def middle(low, high):
        return (low & high) + ((low ^ high) >> 1)  # their sum could overflow

    def unsettled(ends):
        return jnp.any(middle(*ends) != ends[0])

    def body(ends):
        low, high = ends
        at = middle(low, high)
        moves = (at != low) & high_will_do(at)
        return jnp.where(moves, low, at), jnp.where(moves, at, high)

    return jax.lax.while_loop(unsettled, body, (low, high))[1]


def _keep_largest(log_x0: jax.Array, weight: jax.Array, budget: jax.Array | float) -> jax.Array:
    """Keep an entry while those before it weigh less than ``budget``, from the largest down, equals by index as in a stable sort.

    Nothing is sorted: the smallest kept value is found by halving, each time
    weighing the entries above a cut in one read.  An array of 1024 x 4096 takes
    a tenth of the time of its sort on a CPU.
    """

    def above(cut):
        return jnp.sum(jnp.where(log_x0 > cut, weight, 0.0), axis=-1, keepdims=True)

    ordered_min, ordered_max = (_in_order(extreme(log_x0, axis=-1, keepdims=True)) for extreme in (jnp.min, jnp.max))
    cut = _in_order(_halve(ordered_min - 1, ordered_max, lambda at: above(_in_order(at)) < budget))

    tied = log_x0 == cut
    num_tied = jnp.sum(tied, axis=-1, keepdims=True, dtype=jnp.float32)  # float sums are vectorised on a CPU, whole ones are not
    each = jnp.max(jnp.where(tied, weight, 0.0), axis=-1, keepdims=True)
    room = jnp.clip(jnp.ceil((budget - above(cut)) / each), 1, num_tied)
    # Where all equals stay, which is nearly always, there is nothing to halve.
    index = jnp.arange(log_x0.shape[-1], dtype=jnp.int32)
    last = jnp.full_like(num_tied, log_x0.shape[-1] - 1, jnp.int32)
    first = jnp.where(room < num_tied, -1, last)
    last = _halve(first, last, lambda at: jnp.sum(tied & (index <= at), axis=-1, keepdims=True, dtype=jnp.float32) >= room)
    return jnp.where((log_x0 > cut) | (tied & (index <= last)), log_x0, LOG_FLOOR)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TopR:
    """Keep the fewest likeliest codes whose probabilities reach ``rate``; the one that crosses it is kept.

    rate: in (0, 1], traced data (another rate recompiles nothing).  1.0 still
    drops the far tail, of about 1e-7 in all, where the float32 running sum has
    reached 1: so did the reference.
    What is kept is what sorting and a running float32 sum would keep, except
    that such sums depend on their order: where probabilities sum to ``rate``
    within about 1e-6, the entry that crosses it may be one later or earlier.
    Raises ValueError if rate is outside (0, 1].
    """

    rate: float | jax.Array

    def __post_init__(self):
        if isinstance(self.rate, Real) and not 0.0 < self.rate <= 1.0:
            raise ValueError(f"TopR.rate is {self.rate}; it must lie in (0, 1] (leave truncation out to keep everything)")

    def __call__(self, log_x0: jax.Array) -> jax.Array:
        """log_x0: (..., num_codes) float32 -> the same shape, dropped codes at -70."""
        return _keep_largest(log_x0, jnp.exp(log_x0), self.rate)


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
        return _keep_largest(log_x0, jnp.ones_like(log_x0), self.k)


Truncation = TopR | TopK
