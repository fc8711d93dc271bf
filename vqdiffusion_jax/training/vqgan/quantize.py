"""Quantisation in the training step: codes that pass gradients on, and losses that pull codes and latents together."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ...models.quantizers import EMAQuantizer, FSQQuantizer, GumbelQuantizer, Quantizer, commitment_loss, gumbel_noise
from .config import CodebookConfig


class Quantized(NamedTuple):
    """A quantizer's output for latents (batch, h, w, embed_dim)."""

    codes: Array  # like the latents; the decoder's input
    penalty: Array  # () the quantizer's own terms of the loss
    tokens: Array  # (batch, h x w) int32


def straight_through(latents: Array, codes: Array) -> Array:
    """Return ``codes``, whose gradient goes to ``latents`` unchanged (van den Oord et al. 2017, section 3.2)."""
    return latents + jax.lax.stop_gradient(codes - latents)


def quantize(
    quantizer: Quantizer,
    latents: Array,
    config: CodebookConfig,
    *,
    step: Array,
    key: Array,
) -> Quantized:
    """Quantise latents (batch, h, w, embed_dim) for training; ``step`` sets the temperature of ``gumbel``."""
    if isinstance(quantizer, GumbelQuantizer):
        return _gumbel(quantizer, latents, config, temperature_at(config, step), key)
    batch = latents.shape[0]
    if isinstance(quantizer, FSQQuantizer):
        values = quantizer.bound(latents)
        codes = quantizer.scale(straight_through(values, jnp.round(values)))
        tokens = quantizer.tokens(jax.lax.stop_gradient(latents))
        return Quantized(codes, jnp.zeros((), jnp.float32), tokens.reshape(batch, -1))
    tokens = quantizer.tokens(jax.lax.stop_gradient(latents))
    codes = quantizer.lookup(tokens)
    penalty = config.commitment * commitment_loss(latents, codes)
    if not isinstance(quantizer, EMAQuantizer):  # whose codebook no gradient moves
        penalty += codebook_loss(latents, codes)
    return Quantized(straight_through(latents, codes), penalty, tokens.reshape(batch, -1))


def codebook_loss(latents: Array, codes: Array) -> Array:
    """Return the mean squared distance of codes from the latents that chose them; only the codebook gets its gradient.

    Ibid., equation 3.
    """
    return jnp.mean(jnp.square(codes - jax.lax.stop_gradient(latents)))


def _gumbel(
    quantizer: GumbelQuantizer, latents: Array, config: CodebookConfig, temperature: Array, key: Array
) -> Quantized:
    batch, height, width, _ = latents.shape
    logits = quantizer.logits(latents.reshape(batch, height * width, -1))
    noise = gumbel_noise(key, batch, *logits.shape[1:])
    choice, tokens = relaxed_choice(logits, noise, temperature)
    codes = jnp.einsum("bln,nc->blc", choice, quantizer.codebook[...], precision=jax.lax.Precision.HIGHEST)
    return Quantized(codes.reshape(batch, height, width, -1), config.kl_weight * kl_to_uniform(logits), tokens)


def relaxed_choice(logits: Array, noise: Array, temperature: Array | float) -> tuple[Array, Array]:
    """Draw from softmax(logits) as a one-hot row, with the gradient of softmax((logits + noise) / temperature).

    Straight-through Gumbel-softmax (Jang et al. 2017, section 2.2).  logits, noise (..., n) -> ((..., n), (...) int32).
    """
    soft = jax.nn.softmax((logits + noise) / temperature, axis=-1)
    tokens = jnp.argmax(logits + noise, axis=-1).astype(jnp.int32)
    hard = jax.nn.one_hot(tokens, logits.shape[-1], dtype=soft.dtype)
    return straight_through(soft, hard), tokens


def kl_to_uniform(logits: Array) -> Array:
    """Return KL(softmax(logits) || uniform) in nats, the mean over all but the last axis, a scalar."""
    log_probabilities = jax.nn.log_softmax(logits, axis=-1)
    divergence = jnp.sum(jnp.exp(log_probabilities) * log_probabilities, axis=-1) + math.log(logits.shape[-1])
    return jnp.mean(divergence)


def temperature_at(config: CodebookConfig, step: Array) -> Array:
    """Return the temperature at ``step``: half a cosine from ``temperature_start`` to ``temperature_end``."""
    progress = jnp.clip(step / max(config.temperature_steps, 1), 0.0, 1.0)
    span = config.temperature_start - config.temperature_end
    return config.temperature_end + 0.5 * span * (1.0 + jnp.cos(math.pi * progress))
