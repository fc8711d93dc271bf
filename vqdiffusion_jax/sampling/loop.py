"""p(x_0 | x_t) from logits, and the loop over a plan.

The loop is a ``lax.scan`` over the whole plan; a ``while_loop`` where the number of calls is data, so that it is no
part of the program, or where the calls end early.

Everything here is traceable and runs inside the caller's ``jax.jit``.  Strategies, guidance, truncation, plans and
noise are pytrees, passed as arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..array_types import AnyInt, TokenMask, Tokens
from ..diffusion.transitions import predict_start
from .guidance import Guidance, combine
from .noise import Noise
from .strategy import Adaptive, Plan, Strategy
from .truncation import Truncation

NOT_A_NUMBER = -1  # every token of a picture whose logits or pixels were NaN
# (tokens (B, L) int32, timestep () or (B,) int32, guided) -> (conditional, null) logits (B, L, K); null is None unless
# guided.
LogitsFn = Callable[[jax.Array, jax.Array, bool], tuple[jax.Array, jax.Array | None]]
# (tokens (B, L) int32, timestep () or (B,) int32) -> log p(x_0 | x_t) (B, L, K) float32.
LogX0Fn = Callable[[jax.Array, jax.Array], jax.Array]


def pairs(first: jax.Array, second: jax.Array) -> jax.Array:
    """Interleave two arrays (batch, ...) as (2 * batch, ...): row i of the first at 2i, of the second at 2i + 1."""
    return jnp.stack([first, second], axis=1).reshape(-1, *first.shape[1:])


def unpaired(both: jax.Array, axis: int = 0) -> tuple[jax.Array, jax.Array]:
    """Return the two arrays that ``pairs`` interleaved along ``axis``.

    By reshaping, since a strided slice of a batch that is spread over devices moves it between them.
    """
    both = both.reshape(*both.shape[:axis], -1, 2, *both.shape[axis + 1 :])
    first, second = (jax.lax.index_in_dim(both, i, axis + 1, keepdims=False) for i in range(2))
    return first, second


def paired_logits(
    forward: Callable[[jax.Array, jax.Array, Any], jax.Array], conditional: Any, both: Any = None
) -> LogitsFn:
    """Return a LogitsFn that runs the conditional and the null forward as one call on a doubled batch.

    forward: (tokens, timestep, conditioning) -> logits.
    conditional: conditioning of the batch.  both: of twice the batch, in ``pairs`` of each picture's condition and its
    null condition; None if guidance is never active.  The caller makes both once, before the loop.

    A batch is spread over devices in contiguous pieces, so the two rows of a pair meet without leaving their device.
    """

    def logits_fn(tokens, timestep, guided):
        if not guided:
            return forward(tokens, timestep, conditional), None
        if both is None:
            raise ValueError("guidance is active but no null condition was given; pass both=, or a Guidance of scale 1")
        twice = timestep if jnp.ndim(timestep) == 0 else jnp.repeat(timestep, 2)
        logits = forward(jnp.repeat(tokens, 2, axis=0), twice, both)
        return unpaired(logits)

    return logits_fn


def predictor(logits_fn: LogitsFn, guidance: Guidance | None = None, truncation: Truncation | None = None) -> LogX0Fn:
    """Return log p(x_0 | x_t) as strategies take it: log-softmax, then guidance (renormalised), then truncation.

    logits_fn(tokens, timestep, guided) -> (conditional, null) logits; ``guided`` is a Python bool, so each case is
    traced once.  With False it runs the conditional forward alone and returns None for null; True comes only if
    ``guidance.active``.  With an interval both cases are compiled, and each timestep runs one of them; where pictures
    have timesteps of their own, the guided one runs if any of them lies inside.
    """

    def plain(tokens, timestep):
        cond, _ = logits_fn(tokens, timestep, False)
        return predict_start(cond)

    def guided_by(guidance: Guidance) -> LogX0Fn:
        def guided(tokens, timestep):
            cond, null = logits_fn(tokens, timestep, True)
            assert null is not None  # as LogitsFn says
            with jax.named_scope("guidance"):
                cond, null = predict_start(cond), predict_start(null)
                mixed = combine(cond, null, guidance.scale, guidance.plausibility)
            if guidance.interval is None or jnp.ndim(timestep) == 0:
                return mixed
            return jnp.where(guidance.applies_at(timestep)[:, None, None], mixed, cond)

        if guidance.interval is None:
            return guided
        return lambda tokens, timestep: jax.lax.cond(
            jnp.any(guidance.applies_at(timestep)), guided, plain, tokens, timestep
        )

    log_x0_fn = plain if guidance is None or not guidance.active else guided_by(guidance)
    if truncation is None:
        return log_x0_fn

    def truncated(tokens, timestep):
        log_x0 = log_x0_fn(tokens, timestep)
        with jax.named_scope("truncation"):
            # A row with one NaN is all NaN, of which truncation would make a row like any other.
            return jnp.where(jnp.isnan(log_x0[..., :1]), jnp.nan, truncation(log_x0))

    return truncated


def marked(tokens: Tokens, bad: jax.Array) -> Tokens:
    """Return tokens (batch, length) with NOT_A_NUMBER in place of all of a picture where ``bad`` (batch,) is True."""
    return jnp.where(bad[:, None], NOT_A_NUMBER, tokens)


def denoise(
    log_x0_fn: LogX0Fn,
    strategy: Strategy,
    plan: Plan,
    noise: Noise,
    tokens: Tokens,
    *,
    known: tuple[TokenMask, Tokens] | None = None,
    first_call: int | jax.Array = 0,
    first: int | jax.Array = 0,
    last: int | jax.Array | None = None,
    keep_trajectory: bool = False,
) -> tuple[Tokens, AnyInt | None]:
    """Run the calls of ``plan`` in order on tokens (batch, length) int32.

    known: (mask, tokens), both (batch, length); where mask is True, the tokens are imposed before the first call and
    after every one (inpainting).
    first_call: number of the noise draw that the plan's first call uses: 0 from a fresh start, 1 after
    ``noised_start``.  Of a plan run in slices, each slice goes on from the draws before it and so gives the tokens of
    the whole.
    first, last: run calls first .. last - 1 alone; None for the end of the plan.  As arrays they are data: plans of one
    length share a program, whatever part of them is run.

    A picture whose p(x_0 | x_t) was NaN has NOT_A_NUMBER for every token.
    Returns the tokens (batch, length) and, if keep_trajectory, those after every call, (calls of the plan, batch,
    length), else None.  With an ``Adaptive`` strategy a clean picture stays as it is, and the loop ends when all are
    clean.  After the last call that was made, the trajectory repeats the last tokens; before ``first`` it is 0.
    Raises ValueError if recorded noise has too few draws.
    """
    last = len(plan) if last is None else last
    if noise.num_draws is not None and isinstance(first_call, int) and isinstance(last, int):
        if first_call + last > noise.num_draws:
            told = f"draws {first_call} to {first_call + last - 1}; {noise.num_draws} are recorded"
            raise ValueError(f"the plan uses noise {told}")

    def impose(tokens):
        if known is None:
            return tokens
        mask, values = known
        return jnp.where(mask, values, tokens).astype(jnp.int32)

    def after(call, timestep, draw, tokens):
        log_x0 = log_x0_fn(tokens, timestep)
        with jax.named_scope("strategy"):
            drawn = impose(strategy.step(call, log_x0, tokens, noise, draw))
        return marked(drawn, jnp.isnan(log_x0[..., 0]).any(axis=1) | (tokens[:, 0] < 0))

    def body(number, state):
        tokens, path = state
        call = plan.call(number)
        return kept(number, after(call, call.timestep, first_call + number, tokens), path)

    def kept(number, tokens, path):
        if path is not None:
            path = jax.lax.dynamic_update_index_in_dim(path, tokens, number, axis=0)
        return tokens, path

    tokens = impose(jnp.asarray(tokens, jnp.int32))
    path = jnp.zeros((len(plan), *tokens.shape), jnp.int32) if keep_trajectory else None
    if isinstance(strategy, Adaptive):
        last, tokens, path = _until_clean(after, kept, strategy, plan, first_call, (first, last), tokens, path)
    else:
        tokens, path = jax.lax.fori_loop(first, last, body, (tokens, path))
    if path is not None:
        path = jnp.where(jnp.arange(len(plan))[:, None, None] < last, path, tokens)
    return tokens, path


def _until_clean(
    after: Callable[..., jax.Array],
    kept: Callable[..., tuple[jax.Array, Any]],
    strategy: Adaptive,
    plan: Plan,
    first_call: int | jax.Array,
    calls: tuple[int | jax.Array, int | jax.Array],
    tokens: jax.Array,
    path: jax.Array | None,
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Run ``denoise`` of an adaptive strategy, which tells each picture's timestep from its tokens.

    calls: the first, and the one before which the loop ends at the latest.
    Returns the number of the call before which it ended, the tokens and the path.
    """
    first, last = calls

    def unfinished(state):
        number, _, level, _ = state
        return (number < last) & jnp.any(level >= 0)

    def body(state):
        number, tokens, level, path = state
        call = plan.call(number)
        drawn = after(call, jnp.maximum(level, 0), first_call + number, tokens)
        # A clean picture keeps its tokens, so that it does not depend on how long its neighbours take.
        tokens, path = kept(number, jnp.where(level[:, None] >= 0, drawn, tokens), path)
        return number + 1, tokens, strategy.noise_level(call, tokens), path

    first = jnp.asarray(first, jnp.int32)
    state = (first, tokens, strategy.noise_level(plan.call(first), tokens), path)
    number, tokens, _, path = jax.lax.while_loop(unfinished, body, state)
    return number, tokens, path
