"""The image codec: images to tokens and back (Esser et al. 2021; the stage before VQ-Diffusion, paper section 3).

Images are (batch, height, width, channels) in [-1, 1]; ``images_to_float``, ``to_255`` and ``to_uint8`` convert them.
Tokens are (batch, length) int32, row by row of the grid, 0..K-1.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from ..array_types import AnyFloat, FeatureMap, Images, Key, Latents, Pixels, Tokens
from ..config import ROUNDINGS, ComputeConfig, VQGANConfig
from ..diffusion.transitions import check_tokens
from .codebook_reduction import first_codes_kept
from .convolution import pointwise
from .dense_codec import DenseDecoder, DenseEncoder, LinearEncoder
from .layers import Buffer, sample_by_sample
from .quantizers import gumbel_noise, make_quantizer
from .vqgan_blocks import Decoder, Encoder, in_float32

_NETWORKS = {
    "conv": (Encoder, Decoder),
    "dense": (DenseEncoder, DenseDecoder),
    "linear": (LinearEncoder, DenseDecoder),
}


def images_to_float(images) -> AnyFloat:
    """Return pixels 0..255, of an integer or float dtype, as float32 in [-1, 1]."""
    images = jnp.asarray(images)
    return 2.0 * (images.astype(jnp.float32) / 255.0) - 1.0


def encode_exactly(codec: VQGAN, images: Images, *, key: Key | None = None) -> Tokens:
    """Return ``codec.encode(images)``, multiplied by a float32 codec in all of float32's digits.

    Accelerators take fewer by default.  Tokens that are kept or compared should not depend on the device.
    """
    with jax.default_matmul_precision("highest"):
        return codec.encode(images, key=key)


def to_255(images) -> AnyFloat:
    """Return images in [-1, 1] as float32 pixels 0..255, neither clipped nor rounded."""
    return (jnp.asarray(images, jnp.float32) + 1.0) / 2.0 * 255.0


def to_uint8(images, *, rounding: str = "truncate") -> Pixels:
    """Return images in [-1, 1] as uint8 pixels; values beyond are clipped.

    The released code saves files by ``"truncate"``, and FID is measured on such files; ``"round"`` is half a level
    brighter, and nearer.  Raises ValueError for another rounding.
    """
    if rounding not in ROUNDINGS:
        raise ValueError(f"rounding is {rounding!r}; allowed: {', '.join(ROUNDINGS)}")
    pixels = jnp.clip(to_255(images), 0.0, 255.0)
    return (jnp.round(pixels) if rounding == "round" else pixels).astype(jnp.uint8)


def cut_into_windows(images: jax.Array, side: int) -> jax.Array:
    """Return images (batch, height, width, channels) cut into squares: (batch x squares, side, side, channels)."""
    batch, height, width, channels = images.shape
    cut = images.reshape(batch, height // side, side, width // side, side, channels).swapaxes(2, 3)
    return cut.reshape(-1, side, side, channels)


def join_windows(squares: jax.Array, count: int) -> jax.Array:
    """Return the inverse of ``cut_into_windows``, ``count`` squares a side: (batch, count x h, count x w, channels)."""
    _, h, w, channels = squares.shape
    rows = squares.reshape(-1, count, count, h, w, channels).swapaxes(2, 3)
    return rows.reshape(-1, count * h, count * w, channels)


class VQGAN(nnx.Module):
    """Encoder, codebook and decoder of one codec.

    ``full_to_reduced`` (codebook_size,) and ``reduced_to_full`` (K,) are Buffers if the config keeps only K codes, else
    None.  Checkpoints do not hold them: a new codec keeps the first K codes until tables from ``reduction_from_full``
    are put there.
    """

    def __init__(self, config: VQGANConfig, compute: ComputeConfig = ComputeConfig(), *, rngs: nnx.Rngs):
        self.config = config
        encoder, decoder = _NETWORKS[config.network]
        self.encoder = encoder(config, compute, rngs=rngs)
        self.quant_conv = pointwise(config.z_channels, config.embed_dim, in_float32(compute), rngs=rngs)
        self.quantizer = make_quantizer(config, rngs=rngs)
        self.post_quant_conv = pointwise(config.embed_dim, config.z_channels, compute, rngs=rngs)
        self.decoder = decoder(config, compute, rngs=rngs)
        tables = None, None
        if config.reduced_codebook_size is not None:
            tables = (
                Buffer(jnp.asarray(t)) for t in first_codes_kept(config.codebook_size, config.reduced_codebook_size)
            )
        self.full_to_reduced, self.reduced_to_full = tables

    def latents(self, images: Images, *, dropout_key: Key | None = None) -> Latents:
        """Return the latents that are quantised: images (batch, height, width, channels) -> (batch, h, w, embed_dim).

        Images are in [-1, 1], latents float32.  With an ``encoder_window`` a token depends on the pixels of its window
        alone, wherever the window is.

        Raises:
          ValueError: images of another size than the codec's, or not of a float dtype.
        """
        size, channels = self.config.image_size, self.config.image_channels
        if images.ndim != 4 or images.shape[1:] != (size, size, channels):
            raise ValueError(f"images have shape {images.shape}; this codec takes (batch, {size}, {size}, {channels})")
        if not jnp.issubdtype(images.dtype, jnp.floating):
            raise ValueError(f"images are {images.dtype}; give floats in [-1, 1], for instance images_to_float(images)")
        window = self.config.encoder_window or size
        pieces = cut_into_windows(images, window)
        if dropout_key is None:
            features = sample_by_sample(self.encoder, window**2 * self.config.channels, pieces)
        else:
            features = self.encoder(pieces, dropout_key)
        return self.quant_conv(join_windows(features, size // window))

    def encode(
        self,
        images: Images,
        *,
        key: Key | None = None,
        gumbel: AnyFloat | None = None,
        temperature: float = 1.0,
    ) -> Tokens:
        """Return the tokens (batch, length) int32 of images (batch, height, width, channels) in [-1, 1].

        A ``gumbel`` codec draws its tokens, as those that the released models were trained on; without ``key`` or
        ``gumbel`` it takes the most likely ones.  Other codecs take the nearest codes and ignore all three arguments.

        Args:
          key: one ``jax.random.key``, or (batch,) of them, one an image.
          gumbel: (batch, length, codebook_size) standard Gumbel noise instead, to replay a recorded draw.
          temperature: tokens are drawn from softmax(logits / temperature); above 0.

        Raises:
          ValueError: images of another shape or dtype (see ``latents``), both ``key`` and ``gumbel``, a temperature of
            0 or less, or noise of another shape.
        """
        if key is not None and gumbel is not None:
            raise ValueError("encode takes key or gumbel, not both; the key would draw what gumbel gives")
        if isinstance(temperature, int | float) and not temperature > 0:
            raise ValueError(
                f"temperature is {temperature}; it must be above 0 "
                "(for the most likely tokens leave out key and gumbel)"
            )
        latents = self.latents(images)
        latents = latents.reshape(latents.shape[0], -1, latents.shape[-1])
        if key is not None and self.config.quantizer == "gumbel":
            gumbel = gumbel_noise(key, latents.shape[0], latents.shape[1], self.config.codebook_size)
        tokens = self.quantizer.tokens(latents, gumbel=gumbel, temperature=temperature)
        return tokens if self.full_to_reduced is None else self.full_to_reduced[...][tokens]

    def codes(self, tokens: Tokens) -> Latents:
        """Return the codes of tokens: (batch, length) int -> (batch, h, w, embed_dim) float32.

        Raises:
          ValueError: not one token for each place of the grid, not integers, or (outside jit) a token that is no code.
            Under jit such a token gives NaN.
        """
        height, width = self.config.grid
        if tokens.ndim != 2 or tokens.shape[1] != height * width:
            raise ValueError(
                f"tokens have shape {tokens.shape}; this codec takes (batch, {height * width}), "
                f"a {height} x {width} grid"
            )
        if not jnp.issubdtype(tokens.dtype, jnp.integer):
            raise ValueError(f"tokens are {tokens.dtype}; they must be integers")
        check_tokens(tokens, self.config.num_codes, allow_mask=False)
        if self.reduced_to_full is not None:
            tokens = jnp.take(self.reduced_to_full[...], tokens, mode="fill", fill_value=self.config.codebook_size)
        return self.quantizer.lookup(tokens).reshape(tokens.shape[0], height, width, -1)

    def decode_latents(self, latents: FeatureMap, *, dropout_key: Key | None = None) -> AnyFloat:
        """Return images (batch, height, width, channels) float32, not clipped, of codes (batch, h, w, embed_dim)."""
        return self.decoder(self.post_quant_conv(latents), dropout_key)

    def decode(self, tokens: Tokens, *, images_at_once: int | None = None) -> Images:
        """Return images (batch, height, width, channels) float32, clipped to [-1, 1], of tokens (batch, length) int.

        Args:
          images_at_once: decode pieces of so many images one after the other, to bound memory; None: the whole batch.

        Raises:
          ValueError: see ``codes``; images_at_once below 1.
        """
        codes = self.codes(tokens)
        if images_at_once is None:
            numbers = self.config.image_size**2 * self.config.channels
            images = sample_by_sample(self.decode_latents, numbers, codes)
        elif images_at_once < 1:
            raise ValueError(f"images_at_once is {images_at_once}; it must be at least 1, or None for the whole batch")
        else:
            images = jax.lax.map(lambda one: self.decode_latents(one[None])[0], codes, batch_size=images_at_once)
        return jnp.clip(images, -1.0, 1.0)
