"""The codec's losses: of reconstruction, and against a discriminator (Esser et al. 2021, section 3.1)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from .config import ReconstructionConfig
from .perceptual import LPIPS

LARGEST_ADAPTIVE_WEIGHT = 1.0e4


def reconstruction_loss(
    config: ReconstructionConfig, reconstruction: Array, images: Array, lpips: LPIPS | None
) -> Array:
    """Return the weighted sum of mean absolute difference, mean squared difference and LPIPS, a scalar.

    Images are (batch, height, width, channels) in [-1, 1].
    """
    difference = reconstruction - images
    loss = jnp.zeros((), jnp.float32)
    if config.l1:
        loss += config.l1 * jnp.mean(jnp.abs(difference))
    if config.l2:
        loss += config.l2 * jnp.mean(jnp.square(difference))
    if config.perceptual:
        if lpips is None:
            raise ValueError("ReconstructionConfig.perceptual is above 0, but no LPIPS network was given")
        loss += config.perceptual * jnp.mean(lpips(reconstruction, images))
    return loss


def discriminator_loss(kind: str, real: Array, fake: Array) -> Array:
    """Return the loss of a discriminator that gave pictures the logits ``real`` and reconstructions ``fake``, a scalar.

    "hinge": Lim and Ye 2017; "vanilla": cross entropy (Goodfellow et al. 2014).  Half the sum of both sides, as taming
    has it.
    """
    if kind == "hinge":
        return 0.5 * (jnp.mean(jax.nn.relu(1.0 - real)) + jnp.mean(jax.nn.relu(1.0 + fake)))
    return 0.5 * (jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake)))


def generator_loss(fake: Array) -> Array:
    """Return the loss of a decoder whose reconstructions were given the logits ``fake``, a scalar."""
    return -jnp.mean(fake)


def adaptive_weight(reconstruction_gradient: Array, adversarial_gradient: Array) -> Array:
    """Return the weight that makes the adversarial gradient as large as the reconstruction's (ibid., equation 7).

    Both are gradients with respect to the decoder's last convolution.
    """
    size = jnp.linalg.norm(reconstruction_gradient.reshape(-1)), jnp.linalg.norm(adversarial_gradient.reshape(-1))
    return jnp.clip(size[0] / (size[1] + 1.0e-4), 0.0, LARGEST_ADAPTIVE_WEIGHT)
