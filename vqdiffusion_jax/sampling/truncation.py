"""Truncation of p(x_0 | x_t): keep the likeliest codes and set the others to -70 ("truncation sampling" in the paper).

The kept probabilities are not renormalised, which a Gumbel draw does not need.  Only codes are truncated: the
reference's row for [MASK] is -70 whether kept or dropped, and adds less than float32 can hold to any running sum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp

from ..array_types import LogProbs
from ..diffusion.transitions import LOG_FLOOR

_TURNS = 32  # halvings of the range of a float32
_HALVINGS = 3  # with one read, on accelerators; with four a TPU takes thrice as long for a read
_ROUNDING = 1e-5  # more than the rounding of a float32 sum of probabilities


def _in_order(x: jax.Array) -> jax.Array:
    """Return float32 as int32 of the same order, or back; bisection between two of these takes at most 32 turns."""
    bits = x if x.dtype == jnp.int32 else jax.lax.bitcast_convert_type(x, jnp.int32)
    flipped = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return flipped if x.dtype == jnp.float32 else jax.lax.bitcast_convert_type(flipped, jnp.float32)


def _middle(low: jax.Array, high: jax.Array) -> jax.Array:
    return (low & high) + ((low ^ high) >> 1)  # their sum could overflow


def _cuts(low: jax.Array, high: jax.Array) -> list[jax.Array]:
    """Return where ``_HALVINGS`` halvings may cut, as a tree: those of the halves of cut i are 2 i + 1 and 2 i + 2."""
    cuts, ends = [], [(low, high)]
    for _ in range(_HALVINGS):
        middles = [_middle(*both) for both in ends]
        cuts += middles
        ends = [half for (low, high), at in zip(ends, middles, strict=True) for half in ((low, at), (at, high))]
    return cuts


def _pick(choices: Sequence[jax.Array], index: jax.Array) -> jax.Array:
    """Return, place by place, the choice of this index."""
    picked = choices[0]
    for i, choice in enumerate(choices[1:], start=1):
        picked = jnp.where(index == i, choice, picked)
    return picked


def _nth_index(of: jax.Array, count: jax.Array) -> jax.Array:
    """Return the index of the ``count``-th True entry of each row, or of any False one between it and the next.

    of: (..., K) bool; count: (..., 1).  Returns (..., 1) int32.
    """
    index = jnp.arange(of.shape[-1], dtype=jnp.int32)
    last = jnp.full_like(count, of.shape[-1] - 1, jnp.int32)
    # A row without a later True entry, as nearly all are, is settled at once.
    first = jnp.where(count < _count(of), -1, last)

    def unsettled(ends):
        return jnp.any(_middle(*ends) != ends[0])

    def body(ends):
        low, high = ends
        at = _middle(low, high)
        enough = (at != low) & (_count(of & (index <= at)) >= count)
        return jnp.where(enough, low, at), jnp.where(enough, at, high)

    return _until(unsettled, body, (first, last))[1]


def _until(unsettled: Callable[[Any], jax.Array], body: Callable[[Any], Any], state: Any) -> Any:
    """Return the state after turns of ``body``, as many as are needed but no more than bisection takes.

    Rows that hold NaN may never settle.
    """

    def going_on(turn_and_state):
        return (turn_and_state[0] < _TURNS) & unsettled(turn_and_state[1])

    start = jnp.int32(0), state
    return jax.lax.while_loop(going_on, lambda before: (before[0] + 1, body(before[1])), start)[1]


def _count(of: jax.Array) -> jax.Array:
    """Return the number of True entries of each row as float32, whose sums a CPU vectorises, unlike whole numbers'."""
    return jnp.sum(of, axis=-1, keepdims=True, dtype=jnp.float32)


def _keep_largest(log_x0: jax.Array, weigh: Callable[[jax.Array], jax.Array], budget: jax.Array | float) -> jax.Array:
    """Keep entries from the largest down, equals by index, each while those before it weigh less than ``budget``.

    weigh: the weight of an entry; it must not fall as the entry grows.
    log_x0: (..., num_codes) float32.  Returns the same shape, dropped entries at -70.

    Nothing is sorted.  The smallest kept value is found by bisection.  On a CPU each turn weighs the entries above one
    cut, and the turns end when no row has more than one value between two cuts; an array of 1024 x 4096 takes a tenth
    of the time of its sort.  An accelerator would have to stop and ask at each turn, on a mesh across devices, so there
    33 halvings are made, three with one read; it asks once, whether a tie is split.
    """

    def single(low, high, above_low, above_high):
        """Return True for rows with room for one entry only: each entry above low weighs at least as much as low."""
        return (_middle(low, high) == low) | (above_low - above_high + _ROUNDING < 2.0 * weigh(_in_order(low)))

    def unsettled(state):
        return ~jnp.all(single(*state))

    def sum_above(cut, values, weight):
        return jnp.sum(jnp.where(values > _in_order(cut), weight, 0.0), axis=-1, keepdims=True)

    def halved(state, at, above_at):
        """Return the half with the cut-off in it, and whether that is the lower one."""
        low, high, above_low, above_high = state
        reaches = (at != low) & (above_at < budget)  # the entries above this cut leave some of the budget
        ends = jnp.where(reaches, low, at), jnp.where(reaches, at, high)
        sums = jnp.where(reaches, above_low, above_at), jnp.where(reaches, above_at, above_high)
        return (*ends, *sums), reaches

    def halve(state, weight):
        at = _middle(*state[:2])
        return halved(state, at, sum_above(at, log_x0, weight))[0]

    def halve_often(state):
        # Without the barrier a compiler keeps the weights, and to read them takes longer than to compute them anew.
        values, state = jax.lax.optimization_barrier((log_x0, state))
        weight, cuts = weigh(values), _cuts(*state[:2])
        sums = [sum_above(cut, values, weight) for cut in cuts]
        node = jnp.zeros_like(state[0])
        for _ in range(_HALVINGS):
            state, lower = halved(state, _pick(cuts, node), _pick(sums, node))
            node = 2 * node + jnp.where(lower, 1, 2)
        return state

    lowest, highest = (_in_order(extreme(log_x0, axis=-1, keepdims=True)) for extreme in (jnp.min, jnp.max))
    nothing = jnp.zeros(lowest.shape, jnp.float32)

    def until_settled(*state):
        weight = weigh(log_x0)
        return _until(unsettled, lambda state: halve(state, weight), state)

    def all_turns(*state):
        return jax.lax.fori_loop(0, -(-_TURNS // _HALVINGS), lambda _, state: halve_often(state), state)

    state = (lowest - 1, highest, nothing + jnp.inf, nothing)
    low, high, _, above = jax.lax.platform_dependent(*state, cpu=until_settled, default=all_turns)
    weight = weigh(log_x0)
    larger = log_x0 > _in_order(high)
    tied = (log_x0 > _in_order(low)) & ~larger  # one entry, or several of one value
    each = jnp.max(jnp.where(tied, weight, 0.0), axis=-1, keepdims=True)
    room = jnp.clip(jnp.ceil((budget - above) / each), 1, _count(tied))
    index = jnp.arange(log_x0.shape[-1], dtype=jnp.int32)
    return jnp.where(larger | (tied & (index <= _nth_index(tied, room))), log_x0, LOG_FLOOR)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TopR:
    """Keep the fewest likeliest codes whose probabilities reach ``rate``, including the one that crosses it.

    rate: in (0, 1], traced data (another rate recompiles nothing).  1.0 keeps everything and, given as a number,
    compiles no search.  (The reference drops what comes after its float32 running sum has reached 1, about 1e-7 in
    all.)
    The codes are those that sorting and a running float32 sum would keep.  Such sums depend on their order: where
    probabilities sum to ``rate`` within about 1e-6, the code that crosses it may be one later or earlier.
    Raises ValueError if rate is outside (0, 1].
    """

    rate: float | jax.Array
    # Whether the rate is 1; decided in the constructor if the rate is a number.
    keeps_all: bool = field(default=False, repr=False, metadata={"static": True})

    def __post_init__(self):
        if isinstance(self.rate, Real) and not 0.0 < self.rate <= 1.0:
            raise ValueError(f"TopR.rate is {self.rate}; it must lie in (0, 1] (1 keeps everything)")
        if isinstance(self.rate, Real):
            object.__setattr__(self, "keeps_all", self.rate == 1.0)

    def __call__(self, log_x0: LogProbs) -> LogProbs:
        """Return log_x0, (..., num_codes) float32, with dropped codes at -70."""
        if self.keeps_all:
            return log_x0
        return _keep_largest(log_x0, jnp.exp, jnp.where(self.rate < 1.0, self.rate, jnp.inf))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TopK:
    """Keep the ``k`` likeliest codes, or all of them if k >= num_codes.

    k: at least 1, traced data (another k recompiles nothing).  Given as a number of at least num_codes, outside jit, it
    compiles no search.
    Raises ValueError if k is a number but not a whole one of at least 1.
    """

    k: int | jax.Array

    def __post_init__(self):
        if isinstance(self.k, Real) and (isinstance(self.k, bool) or not isinstance(self.k, int) or self.k < 1):
            raise ValueError(f"TopK.k is {self.k!r}; it must be a whole number of at least 1")

    def __call__(self, log_x0: LogProbs) -> LogProbs:
        """Return log_x0, (..., num_codes) float32, with dropped codes at -70."""
        if isinstance(self.k, int) and self.k >= log_x0.shape[-1]:
            return log_x0
        return _keep_largest(log_x0, jnp.ones_like, self.k)


Truncation = TopR | TopK
