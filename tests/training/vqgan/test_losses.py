"""Losses, metrics and the quantizers' terms against formulas written out in numpy."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vqdiffusion_jax.errors import ConfigError
from vqdiffusion_jax.models.shapes import shapes_of
from vqdiffusion_jax.models.vqgan import VQGAN
from vqdiffusion_jax.training.vqgan.codebook_usage import codebook_use
from vqdiffusion_jax.training.vqgan.config import CodebookConfig, DiscriminatorConfig, ReconstructionConfig
from vqdiffusion_jax.training.vqgan.discriminator import Discriminator
from vqdiffusion_jax.training.vqgan.flops import discriminator_flops, encoder_flops
from vqdiffusion_jax.training.vqgan.losses import (
    adaptive_weight,
    discriminator_loss,
    generator_loss,
    reconstruction_loss,
)
from vqdiffusion_jax.training.vqgan.quantize import (
    codebook_loss,
    kl_to_uniform,
    relaxed_choice,
    straight_through,
    temperature_at,
)

from .toy import CODEC, make_config

RANDOM = np.random.default_rng(0)


def normal(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


def test_reconstruction_loss():
    a, b = normal(2, 4, 4, 3), normal(2, 4, 4, 3)
    found = reconstruction_loss(ReconstructionConfig(l1=0.5, l2=2.0), jnp.asarray(a), jnp.asarray(b), None)
    np.testing.assert_allclose(found, 0.5 * np.abs(a - b).mean() + 2.0 * ((a - b) ** 2).mean(), rtol=1e-6)


def test_adversarial_losses():
    real, fake = normal(2, 3, 3, 1), normal(2, 3, 3, 1)
    hinge = 0.5 * (np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean())
    np.testing.assert_allclose(discriminator_loss("hinge", real, fake), hinge, rtol=1e-6)
    probability = [1 / (1 + np.exp(-logits.astype(np.float64))) for logits in (real, fake)]
    entropy = -0.5 * (np.log(probability[0]).mean() + np.log(1 - probability[1]).mean())
    np.testing.assert_allclose(discriminator_loss("vanilla", real, fake), entropy, rtol=1e-5)
    np.testing.assert_allclose(generator_loss(fake), -fake.mean(), rtol=1e-6)


def test_adaptive_weight_is_clipped():
    a, b = normal(3, 3), normal(3, 3)
    np.testing.assert_allclose(adaptive_weight(a, b), np.sqrt((a**2).sum()) / (np.sqrt((b**2).sum()) + 1e-4), rtol=1e-5)
    assert adaptive_weight(1e9 * jnp.asarray(a), jnp.zeros_like(b)) == 1e4


def test_kl_to_uniform():
    logits = normal(5, 7).astype(np.float64)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(
        kl_to_uniform(jnp.asarray(logits, jnp.float32)), (p * np.log(p * 7)).sum(-1).mean(), rtol=1e-5
    )
    assert abs(kl_to_uniform(jnp.zeros((2, 7)))) < 1e-6


def test_relaxed_choice_draws_from_the_logits_and_has_the_soft_gradient():
    logits, noise, direction = normal(6, 5), normal(6, 5), normal(6, 5)
    choice, tokens = relaxed_choice(logits, noise, 0.3)
    np.testing.assert_array_equal(tokens, (logits + noise).argmax(-1))
    np.testing.assert_allclose(choice, np.eye(5)[np.asarray(tokens)], atol=1e-6)
    found = jax.grad(lambda logits: jnp.sum(relaxed_choice(logits, noise, 0.3)[0] * direction))(jnp.asarray(logits))
    scaled = (logits + noise).astype(np.float64) / 0.3
    p = np.exp(scaled - scaled.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    np.testing.assert_allclose(
        found, p * (direction - (p * direction).sum(-1, keepdims=True)) / 0.3, rtol=1e-3, atol=1e-5
    )


def test_straight_through_and_codebook_loss():
    latents, codes, direction = (jnp.asarray(normal(4, 3)) for _ in range(3))
    value, pull = jax.vjp(straight_through, latents, codes)
    np.testing.assert_allclose(value, codes, rtol=1e-6)
    to_latents, to_codes = pull(direction)
    np.testing.assert_array_equal(to_latents, direction)
    assert not np.any(to_codes)
    to_latents, to_codes = jax.grad(codebook_loss, (0, 1))(latents, codes)
    assert not np.any(to_latents)
    np.testing.assert_allclose(to_codes, 2 * (codes - latents) / latents.size, rtol=1e-5)


def test_temperature():
    config = CodebookConfig(temperature_start=1.0, temperature_end=0.2, temperature_steps=100)
    found = [float(temperature_at(config, jnp.int32(step))) for step in (0, 50, 100, 500)]
    np.testing.assert_allclose(found, [1.0, 0.6, 0.2, 0.2], rtol=1e-5)


def test_use_of_codes():
    used, perplexity = codebook_use(jnp.asarray([3, 0, 3, 0, 3, 3]))
    assert (float(used), float(perplexity)) == (pytest.approx(4 / 6), pytest.approx(4.0))


@pytest.mark.parametrize(("size", "layers"), [(16, 2), (64, 3), (70, 3)])
def test_discriminator_gives_one_logit_a_patch(size, layers):
    config = DiscriminatorConfig(weight=1.0, channels=8, num_layers=layers, norm_groups=4)
    network = Discriminator(config, rngs=nnx.Rngs(0))
    images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    assert jax.eval_shape(network, images).shape == (2, config.patches(size), config.patches(size), 1)


def test_flops_are_those_of_the_program(monkeypatch):
    """Within the padding, whose products the compiler does not count, and norms and activations, which we do not."""
    monkeypatch.setattr(
        "vqdiffusion_jax.models.convolution.WINOGRAD_CHANNELS", 10**6
    )  # a CPU's wide convolutions multiply less
    wide = replace(CODEC, image_size=128, channels=64, attention_levels=(1,))
    codec = shapes_of(VQGAN, wide)
    settings = DiscriminatorConfig(weight=1.0, num_layers=2)
    judge = shapes_of(Discriminator, settings)
    images = jax.ShapeDtypeStruct((1, 128, 128, 3), jnp.float32)
    found = jax.jit(lambda codec, images: codec.latents(images)).lower(codec, images).cost_analysis()["flops"]
    assert found == pytest.approx(encoder_flops(wide), rel=0.05)
    found = jax.jit(lambda judge, images: judge(images)).lower(judge, images).cost_analysis()["flops"]
    assert found == pytest.approx(discriminator_flops(settings, 128), rel=0.05)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ReconstructionConfig(l1=0.0), "all 0"),
        (lambda: ReconstructionConfig(perceptual=1.0), "needs the files vgg and lins"),
        (lambda: DiscriminatorConfig(loss="wasserstein"), "allowed: hinge, vanilla"),
        (lambda: CodebookConfig(temperature_end=0.0), "temperature_end"),
        (lambda: make_config(accumulation=2), "must be 1"),
        (lambda: make_config(discriminator=DiscriminatorConfig(weight=1.0, num_layers=3)), "leaves nothing"),
    ],
)
def test_mistakes(make, says):
    with pytest.raises(ConfigError, match=says):
        make()
