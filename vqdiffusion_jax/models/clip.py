"""OpenAI CLIP: the text tower that conditions the denoiser and the image tower that scores pictures.

Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", section 2.4.  The towers
are frozen everywhere in this project.  ``ComputeConfig(dtype="float16")`` is the arithmetic that the released text
models were trained and sampled with.
"""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ..array_types import AnyFloat, Images, Sequence, TextIds
from ..config import CLIPTextConfig, CLIPVisionConfig, ComputeConfig, TextEmbeddingConfig
from .layers import Attention, LayerNorm, Mlp, embed, lookup, normal_init, scan_layers, stack

# Per-channel statistics of CLIP's training pictures, for pixels in [0, 1].
IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)


class CLIPBlock(nnx.Module):
    """Pre-norm residual block: attention, then an MLP."""

    def __init__(
        self,
        config: CLIPTextConfig | CLIPVisionConfig,
        compute: ComputeConfig = ComputeConfig(),
        *,
        rngs: nnx.Rngs,
    ):
        width = config.width
        self.norm1 = _norm(width, compute, rngs)
        self.attention = Attention(width, config.num_heads, compute, rngs=rngs)
        self.norm2 = _norm(width, compute, rngs)
        self.mlp = Mlp(width, config.mlp_width, config.activation, compute, rngs=rngs)

    def __call__(self, x: Sequence, *, causal: bool = False) -> Sequence:
        """Return the block's output for x (batch, length, width), of the same shape and dtype."""
        x = x + self.attention(self.norm1(x).astype(x.dtype), causal=causal)
        return x + self.mlp(self.norm2(x).astype(x.dtype))


def _norm(width: int, compute: ComputeConfig, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """Return a LayerNorm that returns float32: CLIP keeps scale and bias unrounded and casts only the result."""
    return LayerNorm(width, replace(compute, dtype="float32"), rngs=rngs)


def _blocks(config: CLIPTextConfig | CLIPVisionConfig, compute: ComputeConfig, rngs: nnx.Rngs) -> CLIPBlock:
    return stack(
        lambda layer_rngs: CLIPBlock(config, compute, rngs=layer_rngs),
        config.num_layers,
        rngs,
    )


def _normal(shape: tuple[int, ...], compute: ComputeConfig, rngs: nnx.Rngs) -> nnx.Param:
    return nnx.Param(normal_init(rngs.params(), shape, compute.param_dtype))


class CLIPTextEncoder(nnx.Module):
    """CLIP's text tower: a causal transformer over token ids."""

    def __init__(
        self, config: CLIPTextConfig = CLIPTextConfig(), compute: ComputeConfig = ComputeConfig(), *, rngs: nnx.Rngs
    ):
        self.config = config
        self.compute = compute
        self.token_embedding = embed(config.vocab_size, config.width, compute, rngs=rngs)
        self.position_embedding = _normal((config.context_length, config.width), compute, rngs)
        self.blocks = _blocks(config, compute, rngs)
        self.final_norm = _norm(config.width, compute, rngs)
        self.text_projection = _normal((config.width, config.projection_width), compute, rngs)

    def __call__(self, ids: TextIds) -> Sequence:
        """Return the states of every position after the final norm.

        Args:
          ids: (batch, length) int32, length at most ``config.context_length``; negative ids count as 0.  Padding is
            attended like any token.

        Returns:
          (batch, length, width) in the compute dtype.

        Raises:
          ValueError: ids of another shape or kind or, in a numpy array, beyond the vocabulary.
        """
        check_ids(ids, self.config)
        # Each table is rounded to the compute dtype before the sum, as the reference does in float16.
        positions = self.position_embedding[: jnp.shape(ids)[1]].astype(self.compute.dtype)
        states = lookup(self.token_embedding, jnp.asarray(ids)) + positions
        states = scan_layers(lambda x, block: block(x, causal=True), states, self.blocks, self.compute)
        return self.final_norm(states).astype(self.compute.dtype)

    def pool(self, states: Sequence, ids: TextIds) -> AnyFloat:
        """Return CLIP's own text embedding, the projected end-of-text state: (batch, projection width), not normalised.

        states are (batch, length, width), ids (batch, length).  The end token is the largest id, the first of equals.
        """
        ends = jnp.argmax(jnp.maximum(jnp.asarray(ids), 0), axis=-1)
        last = jnp.take_along_axis(states, ends[:, None, None], axis=1)[:, 0]
        return last @ self.text_projection[...].astype(states.dtype)


def check_ids(ids: jax.Array | np.ndarray, config: CLIPTextConfig) -> None:
    """Raise ValueError unless ids are integers (batch, length <= context); values are checked in numpy arrays only."""
    shape = jnp.shape(ids)
    if len(shape) != 2 or shape[1] > config.context_length:
        raise ValueError(
            f"token ids have shape {shape}; CLIPTextEncoder takes (batch, length) with length at most "
            f"{config.context_length}"
        )
    if not jnp.issubdtype(jnp.result_type(ids), jnp.integer):
        raise ValueError(f"token ids are {jnp.result_type(ids)}; CLIPTextEncoder takes integers")
    if isinstance(ids, np.ndarray) and ids.size and ids.max() >= config.vocab_size:
        raise ValueError(
            f"token id {ids.max()} is beyond CLIPTextEncoder's vocabulary of {config.vocab_size}; "
            "use the tokenizer of the same model"
        )


def text_embedding(
    encoder: CLIPTextEncoder, ids: TextIds, config: TextEmbeddingConfig = TextEmbeddingConfig()
) -> AnyFloat | tuple[AnyFloat, AnyFloat]:
    """Return the text condition as the reference's CLIPTextEmbedding gives it.

    Args:
      ids: (batch, length) int32.

    Returns:
      In the encoder's compute dtype: (batch, length, width) by default, each position divided by its L2 norm; with
      ``pick_last`` (batch, P), or (batch, 1, P) with ``keep_length_axis``, where P is the projection width; with
      ``double`` twice as wide.  With ``additional_last`` a pair, whose second array is the projected end-of-text state,
      never normalised, (batch, P) or (batch, 1, P).
    """
    states = encoder(ids)
    features = _last_state(encoder, states, ids, config) if config.pick_last else states
    if config.double:
        features = jnp.concatenate([features, features], axis=-1)
    if config.normalize:
        # The sum runs in float32; the norm itself is then rounded, as a float16 norm is in the reference.
        norm = jnp.sqrt(jnp.sum(jnp.square(features.astype(jnp.float32)), axis=-1, keepdims=True))
        features = features / norm.astype(features.dtype)
    return (features, _last_state(encoder, states, ids, config)) if config.additional_last else features


def _last_state(
    encoder: CLIPTextEncoder, states: jax.Array, ids: jax.Array | np.ndarray, config: TextEmbeddingConfig
) -> jax.Array:
    last = encoder.pool(states, ids)
    return last[:, None] if config.keep_length_axis else last


def text_condition(encoder: CLIPTextEncoder, ids: TextIds, config: TextEmbeddingConfig) -> Sequence:
    """Return ``text_embedding`` as the denoiser takes it: (batch, length, width) float32, for a tower of any dtype.

    Raises:
      ValueError: a config with ``additional_last``, whose second array no denoiser takes.
    """
    embedding = text_embedding(encoder, ids, config)
    if isinstance(embedding, tuple):
        raise ValueError("text_embedding.additional_last is True; a denoiser takes one array only, set it to False")
    return embedding.astype(jnp.float32)


class CLIPVisionEncoder(nnx.Module):
    """CLIP's image tower: a vision transformer over patches and a class token, projected as text embeddings are."""

    def __init__(
        self, config: CLIPVisionConfig = CLIPVisionConfig(), compute: ComputeConfig = ComputeConfig(), *, rngs: nnx.Rngs
    ):
        self.config = config
        self.compute = compute
        patch = (config.patch_size, config.patch_size)
        self.patch_embedding = nnx.Conv(
            3,
            config.width,
            patch,
            strides=patch,
            padding="VALID",
            use_bias=False,
            kernel_init=normal_init,
            dtype=compute.dtype,
            param_dtype=compute.param_dtype,
            rngs=rngs,
        )
        num_patches = (config.image_size // config.patch_size) ** 2
        self.class_embedding = _normal((config.width,), compute, rngs)
        self.position_embedding = _normal((num_patches + 1, config.width), compute, rngs)
        self.pre_norm = _norm(config.width, compute, rngs)
        self.blocks = _blocks(config, compute, rngs)
        self.final_norm = _norm(config.width, compute, rngs)
        self.projection = _normal((config.width, config.projection_width), compute, rngs)

    def __call__(self, images: Images) -> AnyFloat:
        """Return image embeddings (batch, projection width) in the compute dtype, not normalised.

        Args:
          images: (batch, image_size, image_size, 3) float, from ``normalize_images``.

        Raises:
          ValueError: images of another shape.
        """
        size, dtype = self.config.image_size, self.compute.dtype
        if jnp.ndim(images) != 4 or jnp.shape(images)[1:] != (size, size, 3):
            raise ValueError(
                f"images have shape {jnp.shape(images)}; CLIPVisionEncoder takes (batch, {size}, {size}, 3); "
                "resize them"
            )
        patches = self.patch_embedding(jnp.asarray(images, dtype))
        patches = patches.reshape(patches.shape[0], -1, self.config.width)
        class_token = jnp.broadcast_to(
            self.class_embedding[...].astype(dtype), (patches.shape[0], 1, self.config.width)
        )
        states = jnp.concatenate([class_token, patches], axis=1) + self.position_embedding[...].astype(dtype)
        states = scan_layers(lambda x, block: block(x), self.pre_norm(states).astype(dtype), self.blocks, self.compute)
        return self.final_norm(states[:, 0]).astype(dtype) @ self.projection[...].astype(dtype)


def normalize_images(images: jax.Array) -> jax.Array:
    """Return pixels (..., 3) in [0, 1] less CLIP's mean, over its deviation: the float32 input of CLIPVisionEncoder."""
    return (images - jnp.asarray(IMAGE_MEAN, jnp.float32)) / jnp.asarray(IMAGE_STD, jnp.float32)
