"""Truncation of p(x_0 | x_t): keep the likeliest codes, set the others to -70 ("truncation sampling" in the paper).

The kept probabilities are not renormalised; a Gumbel draw does not need it.
Only the codes are truncated: the reference's mask row sits at -70, adds less
than float32 can hold to any running sum and is -70 whether kept or dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real

import jax
import jax.numpy as jnp

from ..array_types import LogProbs
from ..diffusion.transitions import LOG_FLOOR

_TURNS = 32  # halvings of the range of a float32
_ROUNDING = 1e-5  # of a float32 sum of probabilities, with room to spare


def _in_order(x: jax.Array) -> jax.Array:
    """float32 -> int32 in the same order, or back: halving between two such numbers ends after 32 times at most."""
    bits = x if x.dtype == jnp.int32 else jax.lax.bitcast_convert_type(x, jnp.int32)
    flipped = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return flipped if x.dtype == jnp.float32 else jax.lax.bitcast_convert_type(flipped, jnp.float32)


def _middle(low: jax.Array, high: jax.Array) -> jax.Array:
    return (low & high) + ((low ^ high) >> 1)  # their sum could overflow


def _nth_index(of: jax.Array, count: jax.Array) -> jax.Array:
    """Index of the ``count``-th True entry of each row, or of any later one before the next: (..., K), (..., 1) -> (..., 1) int32."""
    index = jnp.arange(of.shape[-1], dtype=jnp.int32)
    last = jnp.full_like(count, of.shape[-1] - 1, jnp.int32)
    # Where no other comes after it, which is nearly always, there is nothing to halve.
    first = jnp.where(count < _count(of), -1, last)

    def unsettled(ends):
        return jnp.any(_middle(*ends) != ends[0])

    def body(ends):
        low, high = ends
        at = _middle(low, high)
        enough = (at != low) & (_count(of & (index <= at)) >= count)
        return jnp.where(enough, low, at), jnp.where(enough, at, high)

    return jax.lax.while_loop(unsettled, body, (first, last))[1]


def _count(of: jax.Array) -> jax.Array:
    """How many are True in each row, float32: such sums are vectorised on a CPU, those of whole numbers are not."""
    return jnp.sum(of, axis=-1, keepdims=True, dtype=jnp.float32)


def _keep_largest(log_x0: jax.Array, weigh: Callable[[jax.Array], jax.Array], budget: jax.Array | float) -> jax.Array:
    """Keep an entry while those before it weigh less than ``budget``, from the largest down, equals by index as in a stable sort.

    weigh: from an entry to its weight, which must not fall as the entry grows.

    Nothing is sorted: the smallest kept value is found by halving, each time
    weighing the entries above a cut in one read.  On a CPU that ends when no row has more than one value between two
    cuts, and an array of 1024 x 4096 takes a tenth of the time of its sort; an accelerator, which would have to stop at
    each turn and ask, and on a mesh to ask the others, takes all the turns there can be.  It asks once, whether a tie is split.
    """

    def single(low, high, above_low, above_high):
        """No room for a second entry: each of those above low weighs as much as low at least."""
        return (_middle(low, high) == low) | (above_low - above_high + _ROUNDING < 2.0 * weigh(_in_order(low)))

    def unsettled(state):
        return ~jnp.all(single(*state))

    def halve(state, weight):
        low, high, above_low, above_high = state
        at = _middle(low, high)
        above = jnp.sum(jnp.where(log_x0 > _in_order(at), weight, 0.0), axis=-1, keepdims=True)
        reaches = (at != low) & (above < budget)  # the budget is not used up above this cut
        ends = jnp.where(reaches, low, at), jnp.where(reaches, at, high)
        return *ends, jnp.where(reaches, above_low, above), jnp.where(reaches, above, above_high)

    lowest, highest = (_in_order(extreme(log_x0, axis=-1, keepdims=True)) for extreme in (jnp.min, jnp.max))
    nothing = jnp.zeros(lowest.shape, jnp.float32)

    def until_settled(*state):
        weight = weigh(log_x0)
        return jax.lax.while_loop(unsettled, lambda state: halve(state, weight), state)

    def all_turns(*state):
        return jax.lax.fori_loop(
            0, _TURNS, lambda _, state: halve(state, weigh(log_x0)), state
        )  # weighed anew: half of the reading

    state = (lowest - 1, highest, nothing + jnp.inf, nothing)
    low, high, _, above = jax.lax.platform_dependent(*state, cpu=until_settled, default=all_turns)
    weight = weigh(log_x0)
    larger = log_x0 > _in_order(high)
    tied = (log_x0 > _in_order(low)) & ~larger  # one, or all of one value
    each = jnp.max(jnp.where(tied, weight, 0.0), axis=-1, keepdims=True)
    room = jnp.clip(jnp.ceil((budget - above) / each), 1, _count(tied))
    index = jnp.arange(log_x0.shape[-1], dtype=jnp.int32)
    return jnp.where(larger | (tied & (index <= _nth_index(tied, room))), log_x0, LOG_FLOOR)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TopR:
    """Keep the fewest likeliest codes whose probabilities reach ``rate``; the one that crosses it is kept.

    rate: in (0, 1], traced data (another rate recompiles nothing).  1.0 keeps
    everything and, given as a number, compiles no search.  (The reference drops
    what comes after its float32 running sum has reached 1, about 1e-7 in all.)
    What is kept is what sorting and a running float32 sum would keep, except
    that such sums depend on their order: where probabilities sum to ``rate``
    within about 1e-6, the entry that crosses it may be one later or earlier.
    Raises ValueError if rate is outside (0, 1].
    """

    rate: float | jax.Array
    keeps_all: bool = field(
        default=False, repr=False, metadata={"static": True}
    )  # decided anew wherever the rate is a number

    def __post_init__(self):
        if isinstance(self.rate, Real) and not 0.0 < self.rate <= 1.0:
            raise ValueError(
                f"TopR.rate is {self.rate}; it must lie in (0, 1] (leave truncation out to keep everything)"
            )
        if isinstance(self.rate, Real):
            object.__setattr__(self, "keeps_all", self.rate == 1.0)

    def __call__(self, log_x0: LogProbs) -> LogProbs:
        """log_x0: (..., num_codes) float32 -> the same shape, dropped codes at -70."""
        if self.keeps_all:
            return log_x0
        return _keep_largest(log_x0, jnp.exp, jnp.where(self.rate < 1.0, self.rate, jnp.inf))


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

    def __call__(self, log_x0: LogProbs) -> LogProbs:
        """log_x0: (..., num_codes) float32 -> the same shape, dropped codes at -70."""
        if self.k >= log_x0.shape[-1]:
            return log_x0
        return _keep_largest(log_x0, jnp.ones_like, self.k)


Truncation = TopR | TopK
