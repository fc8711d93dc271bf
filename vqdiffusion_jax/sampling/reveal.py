"""The numbers of masked positions to reveal, the choice of positions and their codes, for strategies that reveal."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import LogProbs, TokenFloats, TokenMask, Tokens
from ..diffusion.transitions import LOG_FLOOR, sample_categorical
from .noise import Noise

REFERENCE_TOKENS = 1024  # the released tables are for 32 x 32 grids only
REFERENCE_TIMESTEPS = (100, 50, 25, 10)


def reference_counts(
    num_timesteps: int, tokens_per_call: int | None = None, num_tokens: int = REFERENCE_TOKENS
) -> tuple[int, ...]:
    """Return the released code's tokens per timestep: entry t is the number that timestep t reveals.

    Entry 0 is the rest, left for t = 0, where every token is drawn.
    tokens_per_call: the most tokens that a network call may reveal, None for no limit; at most 10 selects another
    table for 100 timesteps.
    Raises ValueError for other grids or numbers of timesteps: use even_counts.
    """
    few = tokens_per_call is not None and tokens_per_call <= 10
    tables = {
        100: ([1, 6] if few else [1, 10]) + [11, 10, 10] * 32 + ([11, 15] if few else [11, 11]),
        50: [10] + [21, 20] * 24 + [30],
        25: [21] + [41] * 23 + [60],
        10: [69] + [102] * 8 + [139],
    }
    if num_timesteps not in REFERENCE_TIMESTEPS or num_tokens != REFERENCE_TOKENS:
        raise ValueError(
            f"no released reveal table for {num_timesteps} timesteps and {num_tokens} tokens;"
            f" there are tables for {', '.join(map(str, REFERENCE_TIMESTEPS))} timesteps and {REFERENCE_TOKENS} tokens:"
            " use even_counts"
        )
    return tuple(tables[num_timesteps])


def even_counts(num_tokens: int, num_timesteps: int, tokens_per_call: int = 1) -> tuple[int, ...]:
    """Return tokens per timestep for any grid, spread evenly over t = num_timesteps - 1 .. 1.

    The tokens are taken ``tokens_per_call`` at a time (the last group may be smaller), and the groups are spread evenly
    over the timesteps, highest first.  With few tokens a call a timestep holds several groups; with many, some
    timesteps hold none and cost no network call.  A strategy with the same ``tokens_per_call`` makes
    ceil(num_tokens / tokens_per_call) calls, give or take the reference's rule that no call reveals a single left-over
    token, and one more at t = 0.

    Returns num_timesteps counts whose entries 1.. sum to num_tokens.  Entry 0 is 0, since t = 0 draws every token and
    reveals none; of a single timestep it is num_tokens.
    Raises ValueError unless all three are at least 1.
    """
    arguments = {"num_tokens": num_tokens, "num_timesteps": num_timesteps, "tokens_per_call": tokens_per_call}
    for name, value in arguments.items():
        if value < 1:
            raise ValueError(f"even_counts: {name} is {value}; it must be at least 1")
    if num_timesteps == 1:
        return (num_tokens,)
    groups = -(-num_tokens // tokens_per_call)
    steps = num_timesteps - 1
    # revealed[i]: tokens known after the i timesteps T - 1 .. T - i.
    revealed = [min(num_tokens, -(-i * groups // steps) * tokens_per_call) for i in range(steps + 1)]
    return (0, *(revealed[steps - t + 1] - revealed[steps - t] for t in range(1, num_timesteps)))


def default_counts(num_tokens: int, num_timesteps: int, tokens_per_call: int | None = None) -> tuple[int, ...]:
    """Return the released table if there is one for this grid and number of timesteps, else ``even_counts``."""
    if num_tokens == REFERENCE_TOKENS and num_timesteps in REFERENCE_TIMESTEPS:
        return reference_counts(num_timesteps, tokens_per_call)
    return even_counts(num_tokens, num_timesteps, tokens_per_call or 1)


def split_count(count: int, tokens_per_call: int | None) -> list[int]:
    """Return the tokens that each call reveals, ``count`` in all and at most ``tokens_per_call`` each.

    A single token left over joins the call before it, which then reveals tokens_per_call + 1, as in the reference.
    """
    calls: list[int] = []
    left = count
    while left > 0:
        now = left if tokens_per_call is None else min(left, tokens_per_call)
        if left - now == 1:
            now = left
        calls.append(now)
        left -= now
    return calls


def choose_positions(score: TokenFloats, masked: TokenMask, count: jax.Array, exponential: TokenFloats) -> TokenMask:
    """Draw ``count`` masked positions without replacement, with probability proportional to score.

    The largest score / Exponential(1) are such a draw.  score, exponential: (batch, length) float32, score positive;
    masked: (batch, length) bool; count: () int32.
    Returns (batch, length) bool with exactly min(count, number masked) True a row, all of them masked.
    """
    return first_masked(score / exponential, masked, count)


def first_masked(priority: TokenFloats, masked: TokenMask, count: jax.Array) -> TokenMask:
    """Return the ``count`` masked positions of highest priority, equals by index.

    priority: (batch, length) float32; masked: (batch, length) bool; count: () or (batch, 1) int32.
    Returns (batch, length) bool with exactly min(count, number masked) True a row, all of them masked.
    """
    by_priority = jnp.argsort(jnp.where(masked, priority, -jnp.inf), axis=-1, descending=True)
    rank = jnp.argsort(by_priority, axis=-1)
    return masked & (rank < count)


def draw_codes(log_prob: LogProbs, noise: Noise, draw: jax.Array) -> Tokens:
    """Draw a code for every position, (batch, length) int32.

    log_prob: (batch, length, num_codes) float32, normalised or not.
    """
    *positions, num_codes = log_prob.shape
    # The noise has a row for [MASK], as in the reference, where that row's -70 never wins.
    return sample_categorical(log_prob, noise.gumbel(draw, (*positions, num_codes + 1))[..., :num_codes])


def nearest_timestep(mask_share: np.ndarray | jax.Array, share: np.ndarray | jax.Array) -> np.ndarray | jax.Array:
    """Return the timestep whose share of [MASK] tokens is nearest, at which the network saw such tokens in training.

    mask_share: (num_timesteps,) of the schedule; share: (...) of the tokens at hand; both in [0, 1].
    Returns (...) whole numbers.
    """
    return abs(share[..., None] - mask_share).argmin(axis=-1)


def purity(log_x0: LogProbs) -> TokenFloats:
    """Return each position's purity, its largest p(x_0) divided by the picture's largest: (batch, length) in (0, 1].

    log_x0: (batch, length, num_codes) float32, guided and truncated.
    """
    largest = jnp.clip(jnp.exp(jnp.max(log_x0, axis=-1)), 0.0, 1.0)
    return largest / (jnp.max(largest, axis=-1, keepdims=True) + 1e-10)


def sharpen(log_x0: jax.Array, score: jax.Array, weight: jax.Array | float) -> jax.Array:
    """Return log of p(x_0)^(1 + weight * score), normalised: positions of higher score are drawn with less variety.

    log_x0: (batch, length, num_codes) float32; score: (batch, length).  Returns log_x0's shape, clamped to [-70, 0].
    """
    sharpened = (1.0 + score * weight)[..., None] * log_x0
    return jnp.clip(jax.nn.log_softmax(sharpened, axis=-1), LOG_FLOOR, 0.0)
