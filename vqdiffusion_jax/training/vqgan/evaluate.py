"""Validation of a codec: how near it brings held-out pictures, and which codes they use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from ...image_similarity import psnr, ssim
from ...models.vqgan import VQGAN, images_to_float, to_255
from ...sharding import on_mesh
from ..batch import Batch, array_of, weights_of
from .codebook_usage import codebook_use
from .config import VQGANTrainConfig
from .losses import reconstruction_loss
from .perceptual import LPIPS


def reconstruct(codec: VQGAN, images: Array) -> tuple[Array, Array]:
    """Return reconstructions, not clipped, and tokens (batch, length) of images (batch, height, width, channels).

    Nothing is drawn: a gumbel codec takes its likeliest codes.
    """
    latents = codec.latents(images)
    tokens = codec.quantizer.tokens(latents)
    return codec.decode_latents(codec.quantizer.lookup(tokens)), tokens.reshape(tokens.shape[0], -1)


def make_evaluator(
    config: VQGANTrainConfig, mesh: jax.sharding.Mesh
) -> Callable[[VQGAN, Batch, LPIPS | None], dict[str, Array]]:
    """Return ``evaluate(codec, batch, lpips)``, jitted: means over the batch's samples, their number ``size``, and
    ``counts`` (codebook_size,) of codes.

    PSNR and SSIM are of pictures clipped to the range of pixels, but not rounded.
    """

    def evaluate(codec: VQGAN, batch: Batch, lpips: LPIPS | None) -> dict[str, Array]:
        images, weights = images_to_float(array_of(batch, "images")), weights_of(batch)
        reconstruction, tokens = reconstruct(codec, images)
        shown, made = to_255(images), to_255(jnp.clip(reconstruction, -1.0, 1.0))

        def loss(made: Array, image: Array) -> Array:
            return reconstruction_loss(config.reconstruction, made[None], image[None], lpips)

        each = {
            "reconstruction_loss": jax.vmap(loss)(reconstruction, images),
            "psnr": psnr(shown, made),
            "ssim": ssim(shown, made),
        }
        counted = jnp.repeat(weights.astype(jnp.int32), tokens.shape[1])
        means = {name: jnp.mean(values, where=weights > 0) for name, values in each.items()}
        return means | {
            "size": jnp.sum(weights),
            "counts": jnp.bincount(tokens.reshape(-1), counted, length=config.codec.codebook_size),
        }

    return jax.jit(on_mesh(evaluate, mesh), out_shardings=NamedSharding(mesh, P()))  # whole in every process


def measure(evaluate: Callable, codec: VQGAN, batches: Iterable[Any], lpips: LPIPS | None) -> dict[str, float]:
    """Return reconstruction_loss, psnr (dB), ssim, codes_used (share of the codebook) and perplexity over ``batches``.

    Batches lie on the devices.  Raises ValueError if there are none.
    """
    found = [jax.device_get(evaluate(codec, batch, lpips)) for batch in batches]
    if not found:
        raise ValueError("validation has no batch; give held-out data")
    used, perplexity = codebook_use(jnp.asarray(np.sum([one["counts"] for one in found], axis=0)))
    sizes = [one["size"] for one in found]
    means = {
        name: float(np.average([one[name] for one in found], weights=sizes))
        for name in ("reconstruction_loss", "psnr", "ssim")
    }
    return means | {"codes_used": float(used), "perplexity": float(perplexity)}
