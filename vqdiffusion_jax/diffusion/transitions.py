"""The forward process and its posterior on int32 tokens, as closed forms of O(K) a token.

Classes are the last axis: 0 .. K - 1 are codes and K is [MASK].  There is no (K + 1) x (K + 1) matrix and no one-hot
state.  Kernels and jumps have shape (), or (batch,) to give every sample its own timestep.  All logarithms are natural.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..array_types import AnyFloat, AnyInt, Key, Logits, LogProbs, LogProbsWithMask, Tokens
from .schedule import Jump, Kernel, host_values

LOG_ZERO = math.log(1e-30)  # stands for ln 0 in a one-hot row, as the released models were trained
LOG_FLOOR = -70.0  # log probabilities are clamped to [LOG_FLOOR, 0]


def log_one_hot(tokens: AnyInt, num_classes: int) -> AnyFloat:
    """Return ln of the one-hot rows of ``tokens`` (...): (..., num_classes) float32, 0 or LOG_ZERO."""
    return jnp.where(_is_class(tokens, num_classes), 0.0, LOG_ZERO).astype(jnp.float32)


def gumbel_from_uniform(uniforms: AnyFloat) -> AnyFloat:
    """Return Gumbel noise made of uniforms in [0, 1), any shape, finite even at 0; recorded noise is replayed so."""
    return -jnp.log(-jnp.log(uniforms + 1e-30) + 1e-30)


def sample_categorical(log_prob: AnyFloat, gumbel: AnyFloat) -> AnyInt:
    """Return the Gumbel-max draw over the last axis: log_prob (..., N), normalised or not, and noise -> (...) int32."""
    return _largest(log_prob + gumbel)[1]


def predict_start(logits: Logits) -> LogProbs:
    """Return ln p(x_0 | x_t) of the denoiser's logits (batch, length, K): float32, clamped to [-70, 0]."""
    return _clamp(log_softmax(logits.astype(jnp.float32)))


def log_softmax(x: AnyFloat) -> AnyFloat:
    """Return ``jax.nn.log_softmax`` over the last axis, number for number, in a third of its time on a CPU."""
    shifted = x - _once_a_row(jax.lax.stop_gradient(x.max(-1, keepdims=True)))
    return shifted - _once_a_row(jnp.log(jnp.exp(shifted).sum(-1, keepdims=True)))


def forward_log_prob(log_x0: LogProbs, kernel: Kernel) -> LogProbsWithMask:
    """Return ln q(x_t | x_0) for a soft x_0: ln p(x_0) (batch, length, K) -> (batch, length, K + 1), not clamped.

    ``log_x0`` must be normalised: the probability of a replacement is not scaled by its sum.  Paper section 4.1, mask
    and replace.
    """
    kernel = _expand(kernel, log_x0.ndim)
    codes = jnp.logaddexp(log_x0 + kernel.log_keep, kernel.log_uniform)
    mask = jnp.logaddexp(LOG_ZERO + kernel.log_not_mask, kernel.log_mask)
    return append(codes, mask)


def forward_log_prob_tokens(tokens: Tokens, kernel: Kernel, num_codes: int) -> AnyFloat:
    """Return ln q(x_t | x_s = tokens) for tokens (batch, length), [MASK] among them: (batch, length, K + 1).

    [MASK] is absorbing: its row is 0 at [MASK] and LOG_ZERO elsewhere.
    """
    kernel = _expand(kernel, tokens.ndim + 1)
    masked = (tokens == num_codes)[..., None]
    same, other = _same_and_other(kernel)
    codes = jnp.where(masked, LOG_ZERO, jnp.where(_is_class(tokens, num_codes), same, other))
    mask = jnp.where(masked, 0.0, jnp.logaddexp(LOG_ZERO + kernel.log_not_mask, kernel.log_mask))
    return append(codes, mask)


def q_sample(tokens: Tokens, kernel: Kernel, num_codes: int, *, key: Key) -> Tokens:
    """Draw x_t ~ q(x_t | x_s = tokens): (batch, length) int32 -> the same, at O(1) a token.

    Keeping, replacing and masking race in log space, because a total replacement probability of 1e-6 is too near the
    resolution of a float32 uniform.  Raises ValueError, outside jit, for a token out of range.
    """
    check_tokens(tokens, num_codes, allow_mask=True)
    race_key, code_key = jax.random.split(key)
    kernel = _expand(kernel, tokens.ndim)
    log_rates = (kernel.log_keep, kernel.log_uniform + math.log(num_codes), kernel.log_mask)
    gumbel = jax.random.gumbel(race_key, (3, *tokens.shape), mode="high")
    event = jnp.argmax(jnp.stack([rate + noise for rate, noise in zip(log_rates, gumbel, strict=True)]), axis=0)
    replacement = jax.random.randint(code_key, tokens.shape, 0, num_codes, dtype=tokens.dtype)
    drawn = jnp.where(event == 0, tokens, jnp.where(event == 1, replacement, num_codes))
    return jnp.where(tokens == num_codes, tokens, drawn)


def q_sample_with_uniforms(tokens: Tokens, kernel: Kernel, uniforms: AnyFloat) -> Tokens:
    """Draw as ``q_sample`` from recorded noise: tokens (batch, length), uniforms (batch, length, K + 1) -> tokens."""
    if uniforms.shape[:-1] != tokens.shape:
        raise ValueError(
            f"q_sample_with_uniforms: tokens {tokens.shape} need uniforms (*tokens.shape, K + 1), not {uniforms.shape}"
        )
    check_tokens(tokens, uniforms.shape[-1] - 1, allow_mask=True)
    log_prob = forward_log_prob_tokens(tokens, kernel, uniforms.shape[-1] - 1)
    return sample_categorical(log_prob, gumbel_from_uniform(uniforms))


def q_sample_trajectory(tokens: Tokens, steps: Kernel, num_codes: int, *, key: Key) -> AnyInt:
    """Draw the forward chain x_0 -> x_1 -> ... step by step: tokens (batch, length), steps (T,) -> (T, batch, length).

    Entry t is distributed as q(x_t | x_0), and neighbours are correlated as the chain is.
    """

    def step(x: Array, inputs: tuple[Kernel, Array]) -> tuple[Array, Array]:
        kernel, step_key = inputs
        x = q_sample(x, kernel, num_codes, key=step_key)
        return x, x

    return jax.lax.scan(step, tokens, (steps, jax.random.split(key, len(steps.log_keep))))[1]


def posterior(log_x0: LogProbs, x_t: Tokens, jump: Jump) -> LogProbsWithMask:
    """Return ln p(x_s | x_t) = ln sum_k q(x_s | x_t, x_0 = k) p(x_0 = k), by Bayes' rule (paper sections 4.1 and 4.2).

    ``log_x0`` is ln p(x_0) (batch, length, K), ``x_t`` (batch, length) int32 with [MASK] = K; the result is (batch,
    length, K + 1), clamped to [-70, 0].  Probabilities sum to what ``log_x0`` sums to: a truncated p(x_0) is not
    renormalised.

    With w_k = p(x_0 = k) / q(x_t | x_0 = k) and W their sum it is
    (A_s w_k + B_s W) q(x_t | x_s = k) for a code and C_s W q(x_t | x_s = [MASK]) for [MASK].
    Where noise never replaces a token (``jump.replaces`` False), an unmasked one stays, whatever the network says.
    """
    return append(*posterior_parts(log_x0, x_t, jump))


def sample_posterior(log_x0: LogProbs, x_t: Tokens, jump: Jump, gumbel: LogProbsWithMask) -> Tokens:
    """Return ``sample_categorical(posterior(log_x0, x_t, jump), gumbel)``, (batch, length) int32, in less memory.

    gumbel: (batch, length, K + 1).
    """
    with jax.named_scope("posterior"):
        codes, mask = posterior_parts(log_x0, x_t, jump)
    with jax.named_scope("draw"):
        codes, mask = codes + gumbel[..., :-1], (mask + gumbel[..., -1:])[..., 0]
        largest, code = _largest(codes)
        return jnp.where(mask > largest, log_x0.shape[-1], code).astype(jnp.int32)


def posterior_parts(log_x0: Array, x_t: Array, jump: Jump) -> tuple[Array, Array]:
    """Return ``posterior`` of the codes (batch, length, K) and of [MASK] (batch, length, 1), which ``append`` joins."""
    if log_x0.shape[:-1] != x_t.shape:
        raise ValueError(f"posterior: log_x0 {log_x0.shape} must be x_t {x_t.shape} with one more axis of K codes")
    num_codes = log_x0.shape[-1]
    marginal_t, transition, marginal_s = (
        _expand(k, log_x0.ndim) for k in (jump.marginal_t, jump.transition, jump.marginal_s)
    )
    masked = (x_t == num_codes)[..., None]
    is_same = _is_class(x_t, num_codes)

    def likelihood(kernel: Kernel) -> Array:  # ln q(x_t | code k), which takes three values only
        same, other = _same_and_other(kernel)
        return jnp.where(masked, kernel.log_mask, jnp.where(is_same, same, other))

    log_weights = log_x0 - likelihood(marginal_t)
    largest = _once_a_row(jax.lax.stop_gradient(log_weights.max(-1, keepdims=True)))
    log_total = jnp.log(_once_a_row(jnp.exp(log_weights - largest).sum(-1, keepdims=True))) + largest
    log_total = _once_a_row(jnp.logaddexp(log_total, LOG_ZERO))
    codes = jnp.logaddexp(log_weights + marginal_s.log_keep, log_total + marginal_s.log_uniform) + likelihood(
        transition
    )
    mask = jnp.logaddexp(LOG_ZERO + marginal_s.log_not_mask, log_total + marginal_s.log_mask)
    mask += jnp.where(masked, 0.0, LOG_ZERO)
    if not jump.replaces:  # Bayes' rule would divide by q(x_t | x_0 = k) = 0: what is not masked is what it was
        codes = jnp.where(masked, codes, log_one_hot(x_t, num_codes))
        mask = jnp.where(masked, mask, LOG_ZERO)
    return _clamp(codes), _clamp(mask)


def check_tokens(tokens: Any, num_codes: int, *, allow_mask: bool) -> None:
    """Raise ValueError, naming the value and the range, unless every token is a whole number from 0 to num_codes - 1.

    ``allow_mask`` admits [MASK] = num_codes too.  For the host: under ``jax.jit`` arrays have no values yet and pass
    unchecked, as do arrays spread over several hosts.
    """
    tokens = host_values(tokens)
    if tokens is None:
        return
    last = num_codes if allow_mask else num_codes - 1
    allowed = f"allowed: 0 to {last}" + (f", where {num_codes} is [MASK]" if allow_mask else "")
    if not np.issubdtype(tokens.dtype, np.integer):
        raise ValueError(f"tokens have dtype {tokens.dtype}; give whole numbers, {allowed}")
    wrong = np.argwhere((tokens < 0) | (tokens > last))
    if wrong.size:
        place = tuple(wrong[0].tolist())
        mask = " (that is [MASK]: finish denoising first)" if tokens[place] == num_codes else ""
        raise ValueError(f"token {tokens[place]}{f' at {place}' if place else ''} is out of range{mask}; {allowed}")


def _once_a_row(x: Array) -> Array:
    """Return x; a CPU's XLA is kept from fusing it into its readers, which would compute it again or not vectorised."""
    return jax.lax.platform_dependent(x, cpu=jax.lax.optimization_barrier, default=lambda x: x)


def _largest(x: Array) -> tuple[Array, Array]:
    """Return max and argmax (the first, int32) over the last axis.

    On a CPU both are float reductions, which are vectorised there; argmax and reductions of whole numbers are not.  A
    TPU takes the same form, since its compiler transposes the array for argmax.
    """

    def reductions(x):
        x = jax.lax.optimization_barrier(x)  # else x, with all its noise, is computed for both
        largest = jax.lax.optimization_barrier(x.max(-1, keepdims=True))
        places = jnp.arange(x.shape[-1], dtype=jnp.float32)  # exact below 2**24
        index = jnp.where(x == largest, places, x.shape[-1] - 1.0)
        return largest[..., 0], index.min(-1).astype(jnp.int32)

    def argmax(x):
        return x.max(-1), jnp.argmax(x, axis=-1).astype(jnp.int32)

    # In two steps, so that a program lowered for a CPU is the same text as without the second.
    def on_accelerators(x):
        return jax.lax.platform_dependent(x, tpu=reductions, default=argmax)

    return jax.lax.platform_dependent(x, cpu=reductions, default=on_accelerators)


def _is_class(tokens: Array, num_classes: int) -> Array:
    return tokens[..., None] == jnp.arange(num_classes, dtype=tokens.dtype)


def _same_and_other(kernel: Kernel) -> tuple[Array, Array]:
    """Return ln q(code -> itself) and ln q(code -> one given other code)."""
    return jnp.logaddexp(kernel.log_keep, kernel.log_uniform), jnp.logaddexp(
        LOG_ZERO + kernel.log_keep, kernel.log_uniform
    )


def _expand(kernel: Kernel, ndim: int) -> Kernel:
    """Return a kernel of shape () or (batch,) with trailing axes, so that it broadcasts against ``ndim`` axes."""
    return jax.tree.map(lambda c: jnp.reshape(c, jnp.shape(c) + (1,) * (ndim - jnp.ndim(c))), kernel)


def append(codes: Array, mask: Array) -> Array:
    """Return log-probabilities (batch, length, K + 1) of those of the codes and of [MASK]."""
    return jnp.concatenate([codes, jnp.broadcast_to(mask, (*codes.shape[:-1], 1))], axis=-1)


def _clamp(log_prob: Array) -> Array:
    # Not jnp.clip: its gradient at a bound is a half, and a certain prediction sits on the bound 0.
    return jnp.where(log_prob < LOG_FLOOR, LOG_FLOOR, jnp.where(log_prob > 0.0, 0.0, log_prob))
