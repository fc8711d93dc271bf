import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.cases import Case
from vqdiffusion_jax.config import VQGANConfig
from vqdiffusion_jax.models import quantizers
from vqdiffusion_jax.models.vqgan import images_to_float, to_255

PIXELS = 0.05  # of 255


def nhwc(array):
    return jnp.asarray(np.moveaxis(array, 1, -1))


def flat(noise):
    """Return (batch, codes, h, w) as (batch, h * w, codes)."""
    return nhwc(noise).reshape(len(noise), -1, noise.shape[1])


def assert_pixels(ours, theirs):
    np.testing.assert_allclose(to_255(ours), nhwc(theirs), atol=PIXELS)


@pytest.mark.cases("text", "class", "none", "codec", needs=("codec/image",))
def test_encoding(case: Case, model):
    codec = model.codec
    images = images_to_float(nhwc(case["codec/image"]))
    latents = codec.latents(images)
    np.testing.assert_allclose(latents, nhwc(case["codec/prequant"]), atol=1e-4)

    if "codec/gumbel_noise" in case:
        logits = codec.quantizer.logits(latents)
        np.testing.assert_allclose(
            logits.reshape(len(logits), -1, logits.shape[-1]), flat(case["codec/gumbel_logits"]), atol=1e-4
        )
        tokens = codec.encode(images, gumbel=flat(case["codec/gumbel_noise"]))
        np.testing.assert_array_equal(codec.encode(images), case["codec/tokens_argmax"])
        if "codec/tokens_argmax_full" in case:
            full = codec.quantizer.tokens(latents)
            np.testing.assert_array_equal(full.reshape(len(full), -1), case["codec/tokens_argmax_full"])
    else:
        tokens = codec.encode(images)
    np.testing.assert_array_equal(tokens, case["codec/tokens"])


@pytest.mark.cases("text", "class", "none", "codec", needs=("codec/decode_tokens",))
def test_decoding(case: Case, model):
    codec = model.codec
    if "codec/full_to_quantize" in case:
        np.testing.assert_array_equal(codec.full_to_reduced[...], case["codec/full_to_quantize"])
        np.testing.assert_array_equal(codec.reduced_to_full[...], case["codec/quantize_to_full"])

    assert_pixels(codec.decode(jnp.asarray(case["codec/decode_tokens"])), case["codec/decode_pixels"])
    assert_pixels(codec.decode(jnp.asarray(case["codec/tokens"])), case["codec/roundtrip_pixels"])


@pytest.mark.cases("codec", needs=("codec/image", "codec/decode_tokens"))
def test_codec_in_the_forms_of_large_models(case: Case, model, forms_of_large_models):
    test_encoding(case, model)
    test_decoding(case, model)
    assert forms_of_large_models == ({"winograd"} if has_even_map(model.codec.config) else set())


def has_even_map(config: VQGANConfig) -> bool:
    """Return whether a feature map has an even side, for which alone there is a cheaper convolution."""
    return any(config.image_size // 2**level % 2 == 0 for level in range(len(config.channel_multipliers)))


@pytest.mark.cases("codec", needs=("codec/enc_",))
def test_encoder_stages(case: Case, model):
    encoder = model.codec.encoder
    images, level = images_to_float(nhwc(case["codec/image"])), encoder.down[0]
    first = encoder.conv_in(images[:1])
    stages = {"enc_conv_in": first, "enc_down0_block0": level.blocks[0](first)}
    if level.resample is not None:
        stages["enc_down0_downsample"] = level.resample(level(first))
    recorded = case.group("codec/enc_")
    assert {f"enc_{name}" for name in recorded} <= set(stages)
    for name, theirs in recorded.items():
        np.testing.assert_allclose(stages[f"enc_{name}"], nhwc(theirs), atol=1e-4, err_msg=name)


@pytest.mark.cases("codec", needs=("ema/z",))
def test_codebook_update(case: Case, model):
    quantizer, latents = model.codec.quantizer, nhwc(case["ema/z"])
    quantizer.cluster_size[...] = jnp.ones_like(quantizer.cluster_size[...])  # as the recording began
    tokens = quantizer.tokens(latents)
    np.testing.assert_array_equal(tokens, case["ema/index"])
    loss = quantizers.commitment_loss(latents, quantizer.lookup(tokens))  # recorded without its weight
    np.testing.assert_allclose(loss, case["ema/loss"], rtol=1e-4)
    updated = quantizers.ema_update(quantizer, latents)
    np.testing.assert_allclose(updated.codebook[...], case["ema/embedding_after"], atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(updated.cluster_size[...], case["ema/cluster_size_after"], rtol=1e-5)
    np.testing.assert_allclose(updated.codebook_sum[...], case["ema/embedding_avg_after"], atol=1e-4)
