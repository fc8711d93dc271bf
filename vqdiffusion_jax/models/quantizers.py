"""Codebooks: from a latent vector to the index of a code, and back.

Each family of released codecs chooses the code in its own way: the nearest one (``vq``; van den Oord et al. 2017), the
nearest one in a codebook that follows its latents by moving averages (``ema``; ibid., appendix A.1), and a draw from
predicted logits (``gumbel``).  A fourth way is rounding (``fsq``; Mentzer et al. 2023).  Codebooks, logits and
distances are float32 in every compute dtype: a rounded codebook is another codebook.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ..array_types import AnyFloat, AnyInt, Codebook, CodeIndices, Key, Latents, Scalar
from ..config import VQGANConfig
from .convolution import uniform_init, with_uniform_bias
from .layers import Buffer, replicated

CODES_AT_ONCE = 2048


def codebook_norms(codebook: Codebook) -> AnyFloat:
    """Return the squared length of every code: (n, width) -> (n,) float32."""
    return jnp.sum(jnp.square(codebook.astype(jnp.float32)), axis=-1)


def nearest_codes(
    latents: Latents, codebook: Codebook, *, norms: AnyFloat | None = None, codes_at_once: int = CODES_AT_ONCE
) -> CodeIndices:
    """Return the index of the code nearest to each latent in Euclidean distance; the first of equals.

    The codebook is searched piece by piece, so that ``codes_at_once`` distances a latent are held at any time, not n.
    Latents keep their layout, hence their sharding.

    Args:
      latents: (..., width).
      codebook: (n, width).
      norms: (n,) ``codebook_norms(codebook)``, if it is at hand.

    Returns:
      (...) int32.
    """
    latents, codebook = latents.astype(jnp.float32), codebook.astype(jnp.float32)
    norms = codebook_norms(codebook) if norms is None else norms
    num_codes, width = codebook.shape

    def distances(codes, code_norms):  # without the latent's own norm, which is the same for every code
        products = jnp.einsum("...c,nc->...n", latents, codes, precision=jax.lax.Precision.HIGHEST)
        return code_norms - 2.0 * products

    if num_codes <= codes_at_once:
        return jnp.argmin(distances(codebook, norms), axis=-1).astype(jnp.int32)

    pieces = -(-num_codes // codes_at_once)
    padding = pieces * codes_at_once - num_codes
    codebook = jnp.pad(codebook, ((0, padding), (0, 0))).reshape(pieces, codes_at_once, width)
    norms = jnp.pad(norms, (0, padding), constant_values=jnp.inf).reshape(pieces, codes_at_once)
    starts = jnp.arange(pieces, dtype=jnp.int32) * codes_at_once

    def search(best, piece):
        best_distance, best_index = best
        codes, code_norms, start = piece
        found = distances(codes, code_norms)
        distance, index = found.min(axis=-1), found.argmin(axis=-1).astype(jnp.int32) + start
        closer = distance < best_distance
        return (jnp.where(closer, distance, best_distance), jnp.where(closer, index, best_index)), None

    nothing = jnp.full_like(latents[..., 0], jnp.inf), jnp.zeros_like(latents[..., 0], jnp.int32)
    (_, index), _ = jax.lax.scan(search, nothing, (codebook, norms, starts))
    return index


def lookup(codebook: Codebook, tokens: CodeIndices) -> Latents:
    """Return codes by index: (n, width), (...) int -> (..., width) float32; an index beyond the codebook gives NaN."""
    return jnp.take(replicated(codebook.astype(jnp.float32)), tokens, axis=0, mode="fill", fill_value=jnp.nan)


def commitment_loss(latents: Latents, codes: Latents) -> Scalar:
    """Return the mean squared difference between latents and their codes; its gradient reaches the latents only.

    The caller multiplies by the weight beta (0.25 in van den Oord et al. 2017, equation 3).
    """
    return jnp.mean(jnp.square(jax.lax.stop_gradient(codes) - latents))


def _codebook(config: VQGANConfig, rngs: nnx.Rngs) -> nnx.Param:
    bound = 1.0 / config.codebook_size
    return nnx.Param(
        jax.random.uniform(rngs.params(), (config.codebook_size, config.embed_dim), jnp.float32, -bound, bound)
    )


class VQQuantizer(nnx.Module):
    """The nearest code of a trained codebook."""

    def __init__(self, config: VQGANConfig, *, rngs: nnx.Rngs):
        self.codebook = _codebook(config, rngs)

    def tokens(self, latents: Latents, *, gumbel: AnyFloat | None = None, temperature: float = 1.0) -> CodeIndices:
        """Return the nearest codes of latents: (..., embed_dim) -> (...) int32; noise and temperature ignored."""
        return nearest_codes(latents, self.codebook[...])

    def lookup(self, tokens: CodeIndices) -> Latents:
        """Return the codes of indices: (...) int -> (..., embed_dim) float32."""
        return lookup(self.codebook[...], tokens)


class EMAQuantizer(VQQuantizer):
    """The nearest code of a codebook that ``ema_update`` moves, not the loss.

    codebook_sum / cluster_size is the codebook up to smoothing; it starts as the codebook itself, one latent a code.
    """

    def __init__(self, config: VQGANConfig, *, rngs: nnx.Rngs):
        super().__init__(config, rngs=rngs)
        self.cluster_size = Buffer(jnp.ones((config.codebook_size,), jnp.float32))
        self.codebook_sum = Buffer(jnp.array(self.codebook[...], copy=True))


class GumbelQuantizer(nnx.Module):
    """A code drawn from softmax(proj(latent)): the encoder of the f8 codecs is stochastic, in evaluation too."""

    def __init__(self, config: VQGANConfig, *, rngs: nnx.Rngs):
        proj = nnx.Linear(
            config.embed_dim,
            config.codebook_size,
            kernel_init=uniform_init,
            dtype=jnp.float32,
            precision=jax.lax.Precision.HIGHEST,
            rngs=rngs,
        )
        self.proj = with_uniform_bias(proj, rngs)
        self.codebook = _codebook(config, rngs)

    def logits(self, latents: Latents) -> AnyFloat:
        """Return unnormalised logits of the codes: (..., embed_dim) -> (..., codebook_size) float32."""
        return self.proj(latents.astype(jnp.float32))

    def tokens(self, latents: Latents, *, gumbel: AnyFloat | None = None, temperature: float = 1.0) -> CodeIndices:
        """Return the most likely codes or, with noise, draws from softmax(logits / temperature).

        Args:
          latents: (..., embed_dim).
          gumbel: (..., codebook_size) standard Gumbel noise; None for the most likely code.
          temperature: above 0; the released models were trained on tokens drawn at 1.

        Returns:
          (...) int32.

        Raises:
          ValueError: noise of another shape.
        """
        logits = self.logits(latents)
        if gumbel is not None:
            if gumbel.shape != logits.shape:
                raise ValueError(f"gumbel noise has shape {gumbel.shape}; these latents need {logits.shape}")
            logits = logits / temperature + gumbel
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)

    def lookup(self, tokens: CodeIndices) -> Latents:
        """Return the codes of indices: (...) int -> (..., embed_dim) float32."""
        return lookup(self.codebook[...], tokens)


class FSQQuantizer(nnx.Module):
    """Finite scalar quantization: each number of a latent is rounded to one of a few values (Mentzer et al. 2023).

    There is no codebook to train.  A code is these values scaled to [-1, 1]; its index is their number in mixed radix,
    the last digit the fastest.
    """

    def __init__(self, config: VQGANConfig, *, rngs: nnx.Rngs):
        self.levels = config.levels

    def bound(self, latents: Latents) -> Latents:
        """Return latents (..., embed_dim) squeezed so that rounding to integers leaves ``levels`` values each."""
        levels = np.asarray(self.levels)
        half = (levels - 1) * (1 + 1.0e-3) / 2
        offset = np.where(levels % 2 == 0, 0.5, 0.0)
        return jnp.tanh(latents.astype(jnp.float32) + np.arctanh(offset / half).astype(np.float32)) * half - offset

    def scale(self, values: AnyFloat | AnyInt) -> Latents:
        """Return codes in [-1, 1] of integer values around 0."""
        return (values / (np.asarray(self.levels) // 2)).astype(jnp.float32)

    def tokens(self, latents: Latents, *, gumbel: AnyFloat | None = None, temperature: float = 1.0) -> CodeIndices:
        """Return the indices of the codes nearest to latents; the noise of a GumbelQuantizer is ignored."""
        digits = jnp.round(self.bound(latents)).astype(jnp.int32) + np.asarray(self.levels, np.int32) // 2
        return jnp.sum(digits * self._radix(), axis=-1, dtype=jnp.int32)

    def lookup(self, tokens: CodeIndices) -> Latents:
        """Return the codes of indices; NaN for an index that is no code."""
        levels = np.asarray(self.levels, np.int32)
        codes = self.scale(tokens[..., None] // self._radix() % levels - levels // 2)
        known = (tokens >= 0) & (tokens < math.prod(self.levels))
        return jnp.where(known[..., None], codes, jnp.nan)

    def _radix(self) -> np.ndarray:
        return np.append(np.cumprod(self.levels[:0:-1])[::-1], 1).astype(np.int32)


Quantizer = VQQuantizer | EMAQuantizer | GumbelQuantizer | FSQQuantizer
_QUANTIZERS = {"gumbel": GumbelQuantizer, "vq": VQQuantizer, "ema": EMAQuantizer, "fsq": FSQQuantizer}


def make_quantizer(config: VQGANConfig, *, rngs: nnx.Rngs) -> Quantizer:
    """Return a new quantizer of the kind that ``config.quantizer`` names."""
    return _QUANTIZERS[config.quantizer](config, rngs=rngs)


def gumbel_noise(key: Key, batch: int, length: int, codebook_size: int) -> AnyFloat:
    """Return standard Gumbel noise (batch, length, codebook_size) float32 for GumbelQuantizer.

    ``key`` is one ``jax.random.key``, which is folded with each image's place in the batch, or (batch,) keys, one an
    image.  Either way an image's noise does not depend on the number of the others.

    Raises:
      ValueError: an array that holds no keys, or another number of them.
    """
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise ValueError(f"the key for encoding has dtype {key.dtype}; make it with jax.random.key(seed)")
    if key.ndim == 0:
        key = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(batch))
    if key.shape != (batch,):
        raise ValueError(
            f"keys for encoding have shape {key.shape}; give one key, or one for each of the {batch} images"
        )
    return jax.vmap(lambda k: jax.random.gumbel(k, (length, codebook_size), jnp.float32))(key)


def ema_update(
    quantizer: EMAQuantizer,
    latents: Latents,
    *,
    tokens: AnyInt | None = None,
    decay: float = 0.99,
    epsilon: float = 1.0e-5,
) -> EMAQuantizer:
    """Return the quantizer after one training batch; the given one is left as it is.

    Each code becomes the moving average of the latents nearest to it (van den Oord et al. 2017, appendix A.1, equations
    6 to 8).  Cluster sizes are smoothed as (n_i + epsilon) / (N + n epsilon) N, so that no code divides by zero.

    Args:
      latents: (..., embed_dim), the whole batch; under jit with a sharded batch the sums are over all devices.
      tokens: (...) int32, the nearest codes, if they are at hand.
    """
    codebook = quantizer.codebook[...]
    tokens = (quantizer.tokens(latents) if tokens is None else tokens).reshape(-1)
    latents = jax.lax.stop_gradient(latents).astype(jnp.float32).reshape(-1, codebook.shape[-1])
    counts = jnp.zeros(codebook.shape[0], jnp.float32).at[tokens].add(1.0)
    sums = jnp.zeros(codebook.shape, jnp.float32).at[tokens].add(latents)

    cluster_size = decay * quantizer.cluster_size[...] + (1.0 - decay) * counts
    codebook_sum = decay * quantizer.codebook_sum[...] + (1.0 - decay) * sums
    total = cluster_size.sum()
    smoothed = (cluster_size + epsilon) / (total + epsilon * codebook.shape[0]) * total

    updated = jax.tree.map(lambda leaf: leaf, quantizer)
    updated.codebook[...] = codebook_sum / smoothed[:, None]
    updated.cluster_size[...] = cluster_size
    updated.codebook_sum[...] = codebook_sum
    return updated
