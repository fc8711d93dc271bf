"""A codec's and its discriminator's training step: encode, quantise, decode, compare, update (Esser et al. 2021, 3.1).

Both move by gradients at the parameters that they had before the step.  Of a batch the images alone are read.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from ...models.quantizers import EMAQuantizer, ema_update
from ...models.vqgan import VQGAN, images_to_float
from ...sharding import ShardingRules, compiler_options, on_mesh
from .. import learning_rate
from ..batch import Batch, array_of
from ..ema import update_ema
from ..metric_accumulator import StepMetrics
from ..optimizer import make_optimizer
from .codebook_usage import codebook_use
from .config import VQGANTrainConfig
from .losses import adaptive_weight, discriminator_loss, generator_loss, reconstruction_loss
from .perceptual import LPIPS
from .quantize import quantize
from .restart import restart_dead_codes
from .state import Adversary, VQGANState, abstract_state

ADVERSARIAL_METRICS: tuple[str, ...] = (
    "adversarial_loss",
    "adversarial_weight",
    "discriminator_loss",
    "logits_real",
    "logits_fake",
)


class Pass(NamedTuple):
    """The codec's forward pass over a batch, and its backward pass."""

    reconstruction: Array  # (batch, height, width, channels), not clipped
    penalty: Array  # () the quantizer's terms
    latents: Array  # (batch, h, w, embed_dim)
    tokens: Array  # (batch, length) int32
    vjp: Callable[[Array, Array | float], VQGAN]  # cotangents of reconstruction and penalty -> gradient of the codec


@jax.named_scope("codec")
def through_codec(config: VQGANTrainConfig, codec: VQGAN, images: Array, step: Array, key: Array) -> Pass:
    """Encode, quantise and decode ``images`` (batch, height, width, channels) in [-1, 1].

    key: for dropout and a gumbel codec's draws.
    """
    choice_key, encoder_key, decoder_key = jax.random.split(key, 3)
    dropout = config.codec.dropout > 0

    def forward(codec: VQGAN):
        latents = codec.latents(images, dropout_key=encoder_key if dropout else None)
        quantized = quantize(codec.quantizer, latents, config.codebook, step=step, key=choice_key)
        if config.decoder_only:  # without a way back to them, encoder and codebook have no gradient
            quantized = jax.lax.stop_gradient(quantized)
        reconstruction = codec.decode_latents(quantized.codes, dropout_key=decoder_key if dropout else None)
        return (reconstruction, quantized.penalty), (latents, quantized.tokens)

    (reconstruction, penalty), forward_vjp, (latents, tokens) = jax.vjp(forward, codec, has_aux=True)

    def vjp(image_cotangent: Array, penalty_cotangent: Array | float) -> VQGAN:
        return forward_vjp(
            (image_cotangent.astype(reconstruction.dtype), jnp.asarray(penalty_cotangent, penalty.dtype))
        )[0]

    return Pass(reconstruction, penalty, latents, tokens, vjp)


class AdversarialResult(NamedTuple):
    """The discriminator's part of a step."""

    adversary: Adversary
    loss: Array  # () the generator's, weighted; the decoder is the generator
    cotangent: Array  # like the reconstruction: gradient of that loss
    metrics: StepMetrics


@jax.named_scope("discriminator")
def adversarial_step(
    config: VQGANTrainConfig,
    adversary: Adversary,
    forward: Pass,
    images: Array,
    reconstruction_cotangent: Array,
    rate: Array,
) -> AdversarialResult:
    """Return the generator's loss and its gradient, and the discriminator after its own update.

    reconstruction_cotangent: like the reconstruction, the gradient of the reconstruction loss; it scales an adaptive
    weight.
    """
    settings, optimizer = config.discriminator, make_optimizer(config.optimizer)
    fake = forward.reconstruction

    def adversarial_loss(reconstruction: Array) -> Array:
        return generator_loss(adversary.discriminator(reconstruction))

    loss, cotangent = jax.value_and_grad(adversarial_loss)(fake)
    weight = jnp.asarray(settings.weight, jnp.float32)
    if settings.adaptive:

        def at_last_layer(image_cotangent: Array) -> Array:
            # Only the last convolution's gradient is used, so the compiler drops the rest of the way back.
            return forward.vjp(image_cotangent, 0.0).decoder.last_kernel

        weight *= adaptive_weight(at_last_layer(reconstruction_cotangent), at_last_layer(cotangent))

    def loss_and_logits(discriminator):
        logits_real, logits_fake = discriminator(images), discriminator(fake)
        return discriminator_loss(settings.loss, logits_real, logits_fake), (logits_real.mean(), logits_fake.mean())

    (loss_of_discriminator, logits), gradients = jax.value_and_grad(loss_and_logits, has_aux=True)(
        adversary.discriminator
    )
    directions, optimizer_state = optimizer.update(gradients, adversary.optimizer, adversary.discriminator)
    after = Adversary(
        jax.tree.map(lambda value, direction: value - rate * direction, adversary.discriminator, directions),
        optimizer_state,
    )
    metrics: StepMetrics = dict(zip(ADVERSARIAL_METRICS, (loss, weight, loss_of_discriminator, *logits), strict=True))
    return AdversarialResult(after, weight * loss, weight * cotangent, metrics)


def no_adversarial_step(adversary: Adversary, reconstruction: Array) -> AdversarialResult:
    """Return zeros and the discriminator as it is, for the steps before it joins."""
    zero = jnp.zeros((), jnp.float32)
    return AdversarialResult(adversary, zero, jnp.zeros_like(reconstruction), dict.fromkeys(ADVERSARIAL_METRICS, zero))


def adversarial_result(
    config: VQGANTrainConfig,
    adversary: Adversary,
    forward: Pass,
    images: Array,
    cotangent: Array,
    rate: Array,
    step: Array,
) -> AdversarialResult:
    """Return ``adversarial_step``'s result from ``config.discriminator.start`` on, ``no_adversarial_step``'s before."""

    def joined(_: None) -> AdversarialResult:
        return adversarial_step(config, adversary, forward, images, cotangent, rate)

    def not_joined(_: None) -> AdversarialResult:
        return no_adversarial_step(adversary, forward.reconstruction)

    return jax.lax.cond(step >= config.discriminator.start, joined, not_joined, None)


def move_codebook(
    config: VQGANTrainConfig, quantizer: EMAQuantizer, forward: Pass, everything: Array, key: Array
) -> tuple[EMAQuantizer, Array]:
    """Return the running codebook after this batch, and the number of codes restarted, () int32.

    everything: () bool, restart all codes.
    """
    latents = jax.lax.stop_gradient(forward.latents).astype(jnp.float32)
    latents = latents.reshape(-1, latents.shape[-1])
    chosen = quantizer.lookup(forward.tokens.reshape(-1))
    distances = jnp.sum(jnp.square(latents - chosen), axis=-1)
    moved = ema_update(quantizer, latents, tokens=forward.tokens.reshape(-1), decay=config.codebook.decay)
    if not config.codebook.restart_below:
        return moved, jnp.zeros((), jnp.int32)
    return restart_dead_codes(
        moved, latents, distances, key, share=config.codebook.restart_below, everything=everything
    )


def train_step(
    config: VQGANTrainConfig, state: VQGANState, batch: Batch, lpips: LPIPS | None, *, fresh: bool = True
) -> tuple[VQGANState, StepMetrics]:
    """Return the state after one step and its metrics; a pure function, to be jitted with ``config`` bound.

    fresh: the codebook was not trained before, so that an ``ema`` one starts from the first batch's latents.

    Metrics, all over the whole batch: loss (of the codec), reconstruction_loss, quantizer_loss (before its weight),
    grad_norm (the codec's, before clipping), learning_rate, codes_used (share of the codebook), perplexity,
    restarted_codes (``ema``, if its codebook moves), and with a discriminator adversarial_loss, adversarial_weight,
    discriminator_loss, logits_real and logits_fake.
    """
    optimizer = make_optimizer(config.optimizer)
    pass_key, restart_key = jax.random.split(jax.random.fold_in(state.key, state.step))
    images, rate = images_to_float(array_of(batch, "images")), state.learning_rate.rate
    forward = through_codec(config, state.codec, images, state.step, pass_key)

    def compare(reconstruction: Array) -> Array:
        return reconstruction_loss(config.reconstruction, reconstruction, images, lpips)

    with jax.named_scope("loss"):
        reconstruction, cotangent = jax.value_and_grad(compare)(forward.reconstruction)
    loss = reconstruction + config.codebook.weight * forward.penalty
    metrics = {"reconstruction_loss": reconstruction, "quantizer_loss": forward.penalty, "learning_rate": rate}
    adversary = state.adversary
    if adversary is not None:
        result = adversarial_result(config, adversary, forward, images, cotangent, rate, state.step)
        adversary, loss, cotangent = result.adversary, loss + result.loss, cotangent + result.cotangent
        metrics |= result.metrics

    gradients = forward.vjp(cotangent, config.codebook.weight)
    with jax.named_scope("optimizer"):
        directions, optimizer_state = optimizer.update(gradients, state.optimizer, state.codec)
    codec = jax.tree.map(lambda value, direction: value - rate * direction, state.codec, directions)
    if isinstance(state.codec.quantizer, EMAQuantizer) and not config.decoder_only:
        codec.quantizer, restarted = move_codebook(
            config, state.codec.quantizer, forward, fresh & (state.step == 0), restart_key
        )
        metrics["restarted_codes"] = restarted
    used, perplexity = codebook_use(jnp.bincount(forward.tokens.reshape(-1), length=config.codec.codebook_size))
    metrics |= {"loss": loss, "grad_norm": optax.tree.norm(gradients), "codes_used": used, "perplexity": perplexity}
    after = VQGANState(
        step=state.step + 1,
        codec=codec,
        ema=update_ema(config.ema, state.step, state.ema, codec),
        optimizer=optimizer_state,
        learning_rate=learning_rate.update(config.learning_rate, state.learning_rate, reconstruction),
        adversary=adversary,
        key=state.key,
    )
    return after, metrics


def make_step(
    config: VQGANTrainConfig, mesh: jax.sharding.Mesh, rules: ShardingRules = ShardingRules(), *, fresh: bool = True
) -> Callable[[VQGANState, Batch, LPIPS | None], tuple[VQGANState, StepMetrics]]:
    """Return ``step(state, batch, lpips) -> (state, metrics)``: ``train_step`` jitted on ``mesh``; it takes the state.

    Raises ConfigError if the batch does not divide over the mesh.
    """
    config.check_mesh(mesh)
    step = partial(train_step, config, fresh=fresh)
    # The new state lies where the old one did: its buffers are reused and the second call compiles nothing.
    placements: Any = jax.tree.map(lambda leaf: leaf.sharding, abstract_state(config, mesh, rules))
    return jax.jit(
        on_mesh(step, mesh),
        donate_argnums=0,
        out_shardings=(placements, NamedSharding(mesh, P())),
        compiler_options=compiler_options(mesh),
    )
