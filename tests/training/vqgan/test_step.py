"""The training step: where gradients go, the discriminator's weight, and that all three quantizers learn."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vqdiffusion_jax.models.vqgan import images_to_float
from vqdiffusion_jax.training.optimizer import make_optimizer
from vqdiffusion_jax.training.vqgan.config import DiscriminatorConfig
from vqdiffusion_jax.training.vqgan.discriminator import Discriminator
from vqdiffusion_jax.training.vqgan.losses import generator_loss, reconstruction_loss
from vqdiffusion_jax.training.vqgan.quantize import quantize
from vqdiffusion_jax.training.vqgan.state import Adversary
from vqdiffusion_jax.training.vqgan.step import Pass, adversarial_step, through_codec

from .toy import make_codec, make_config, make_images, make_task, placed

ADVERSARY = DiscriminatorConfig(weight=0.5, channels=8, num_layers=2, norm_groups=4, start=2)


def norm(tree):
    return float(jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree))))


@pytest.mark.parametrize("quantizer", ["vq", "ema", "gumbel"])
def test_learns_with_every_quantizer(quantizer):
    task = make_task(make_config(quantizer))
    state, batch, losses = task.first_state(), placed(make_images()), []
    before = np.asarray(state.codec.quantizer.codebook[...])
    for _ in range(30):
        state, metrics = task.step(state, batch)
        losses.append(float(metrics["reconstruction_loss"]))
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3]), losses
    assert int(state.step) == 30
    assert np.any(np.asarray(state.codec.quantizer.codebook[...]) != before)
    assert 0 < float(metrics["codes_used"]) <= 1 and 1 <= float(metrics["perplexity"]) <= 24
    assert ("restarted_codes" in metrics) == (quantizer == "ema")
    assert "discriminator_loss" not in metrics


@pytest.mark.parametrize("quantizer", ["vq", "ema", "gumbel"])
def test_gradients_reach_what_they_should(quantizer):
    config = make_config(quantizer)
    codec = jax.tree.map(jnp.asarray, make_codec(config))
    latents = jax.random.normal(jax.random.key(0), (2, 8, 8, 4))
    step, key = jnp.int32(0), jax.random.key(1)

    def decoded(module, latents):
        return jnp.sum(jnp.sin(quantize(module, latents, config.codebook, step=step, key=key).codes))

    def penalty(module, latents):
        return quantize(module, latents, config.codebook, step=step, key=key).penalty

    to_codebook, to_latents = jax.jit(jax.grad(decoded, (0, 1)))(codec.quantizer, latents)
    tokens = quantize(codec.quantizer, latents, config.codebook, step=step, key=key).tokens
    if quantizer == "gumbel":  # the reconstruction moves the codes themselves
        assert norm(to_codebook.codebook[...]) > 0 and norm(to_codebook.proj) > 0 and norm(to_latents) > 0
    else:  # straight through: as if the decoder's input were the latents
        codes = codec.quantizer.codebook[...][tokens].reshape(latents.shape)
        np.testing.assert_allclose(to_latents, jnp.cos(codes), atol=1e-6)
        assert norm(to_codebook) == 0
    to_codebook, to_latents = jax.jit(jax.grad(penalty, (0, 1)))(codec.quantizer, latents)
    assert norm(to_latents) > 0
    if quantizer != "gumbel":
        unchosen = np.setdiff1d(np.arange(24), tokens)
        assert (norm(to_codebook.codebook[...]) > 0) == (quantizer == "vq")
        assert not np.any(np.asarray(to_codebook.codebook[...])[unchosen])
    if quantizer == "vq":  # equation 3, with numbers
        e, z = (
            np.asarray(codec.quantizer.codebook[...])[np.asarray(tokens).reshape(latents.shape[:3])],
            np.asarray(latents),
        )
        np.testing.assert_allclose(penalty(codec.quantizer, latents), 1.25 * np.square(e - z).mean(), rtol=1e-5)
        np.testing.assert_allclose(to_latents, 0.25 * 2 * (z - e) / z.size, rtol=1e-4, atol=1e-9)


def test_step_is_the_gradient_of_the_loss():
    """The way back in pieces, against one gradient of the whole loss and one step of plain descent."""
    task = make_task(make_config("vq"))
    state, images = task.first_state(), images_to_float(make_images())

    @jax.jit
    def gradients(codec):
        def loss(codec):
            latents = codec.latents(images)
            codes = codec.quantizer.lookup(codec.quantizer.tokens(latents))
            reconstruction = codec.decode_latents(latents + jax.lax.stop_gradient(codes - latents))
            difference, stop = reconstruction - images, jax.lax.stop_gradient
            terms = jnp.mean((stop(latents) - codes) ** 2) + 0.25 * jnp.mean((latents - stop(codes)) ** 2)
            return 0.7 * jnp.abs(difference).mean() + 0.3 * (difference**2).mean() + 2.0 * terms

        return jax.value_and_grad(loss)(codec)

    loss, expected = gradients(state.codec)
    size = norm(expected)
    _, metrics = task.step(state, placed(make_images()))
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(metrics["grad_norm"], size, rtol=1e-4)


@pytest.mark.parametrize("quantizer", ["ema", "gumbel"])
def test_decoder_alone(quantizer):
    task = make_task(make_config(quantizer, decoder_only=True))
    state, batch, losses = task.first_state(), placed(make_images()), []
    before = jax.tree.map(jnp.copy, state.codec)
    for _ in range(8):
        state, metrics = task.step(state, batch)
        losses.append(float(metrics["reconstruction_loss"]))
    assert losses[-1] < losses[0]
    for name in ("encoder", "quant_conv", "quantizer"):
        for codec in (state.codec, state.ema):
            jax.tree.map(np.testing.assert_array_equal, getattr(codec, name), getattr(before, name))
    for name in ("post_quant_conv", "decoder"):
        changed = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), getattr(state.ema, name), getattr(before, name))
        assert all(jax.tree.leaves(changed)), name


def test_discriminator_joins_late_with_the_adaptive_weight():
    config = make_config("ema", discriminator=ADVERSARY)
    task = make_task(config)
    state, batch = task.first_state(), placed(make_images())
    fresh = jax.device_get(jax.tree.leaves(state.adversary.discriminator))
    for step in range(3):
        before = jax.tree.map(jnp.copy, state)
        state, metrics = task.step(state, batch)
        changed = any(
            np.any(a != b) for a, b in zip(fresh, jax.tree.leaves(state.adversary.discriminator), strict=True)
        )
        assert changed == (step == 2)
        assert (float(metrics["adversarial_weight"]) > 0) == (step == 2)
        counted = jax.tree.leaves(state.adversary.optimizer)[0]
        assert int(counted) == (1 if step == 2 else 0)
    parts = (
        metrics["reconstruction_loss"]
        + 2.0 * metrics["quantizer_loss"]
        + metrics["adversarial_weight"] * metrics["adversarial_loss"]
    )
    assert float(metrics["loss"]) == pytest.approx(float(parts), rel=1e-5)

    images = images_to_float(make_images())
    key = jax.random.split(jax.random.fold_in(before.key, before.step))[0]

    @jax.jit
    def at_kernel(codec, judge, pick):
        """Gradient of either loss, by differentiating from the last convolution's weights on."""
        done = through_codec(config, codec, images, jnp.int32(2), key)

        def losses(kernel):
            other = jax.tree.map(lambda leaf: leaf, codec)
            other.decoder.conv_out.kernel[...] = kernel
            latents = other.latents(images)
            codes = other.quantizer.lookup(done.tokens).reshape(latents.shape)
            made = other.decode_latents(codes)
            return jnp.stack(
                [reconstruction_loss(config.reconstruction, made, images, None), generator_loss(judge(made))]
            )[pick]

        return jax.grad(losses)(codec.decoder.conv_out.kernel[...])

    sizes = [norm(at_kernel(before.codec, before.adversary.discriminator, pick)) for pick in (0, 1)]
    assert float(metrics["adversarial_weight"]) == pytest.approx(0.5 * sizes[0] / (sizes[1] + 1e-4), rel=1e-3)


def test_discriminator_learns_to_tell_and_its_cotangent_is_the_weighted_gradient():
    config = make_config("ema", discriminator=replace(ADVERSARY, adaptive=False))
    judge = Discriminator(ADVERSARY, rngs=nnx.Rngs(0))
    adversary = Adversary(judge, make_optimizer(config.optimizer).init(judge))
    images, made = images_to_float(make_images()), 0.1 * jax.random.normal(jax.random.key(0), (16, 16, 16, 3))
    nothing = jnp.zeros(())

    @jax.jit
    def against(adversary):
        found = adversarial_step(
            config, adversary, Pass(made, nothing, nothing, nothing, None), images, made, jnp.float32(1e-2)
        )
        return found, jax.grad(lambda made: 0.5 * generator_loss(adversary.discriminator(made)))(made)

    losses = []
    for _ in range(12):
        found, direct = against(adversary)
        np.testing.assert_allclose(found.cotangent, direct, rtol=1e-4, atol=1e-9)
        adversary = found.adversary
        losses.append(float(found.metrics["discriminator_loss"]))
    assert losses[-1] < 0.7 * losses[0], losses
    assert float(found.metrics["logits_real"]) > float(found.metrics["logits_fake"])
