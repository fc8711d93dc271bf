import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.cases import Case
from vqdiffusion_jax.models import quantizers
from vqdiffusion_jax.models.vqgan import images_to_float, to_255

PIXELS = 0.05  # of 255


def nhwc(array):
    return jnp.asarray(np.moveaxis(array, 1, -1))


def flat(noise):
    """(B, codes, h, w) as (B, h * w, codes)."""
    return nhwc(noise).reshape(len(noise), -1, noise.shape[1])


def assert_pixels(ours, theirs):
    np.testing.assert_allclose(to_255(ours), nhwc(theirs), atol=PIXELS)


@pytest.mark.cases("text", "class", "none", "codec")
def test_encoding(case: Case, model):
    if "codec/image" not in case:
        pytest.skip("this case records no encoding")
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


@pytest.mark.cases("text", "class", "none", "codec")
def test_decoding(case: Case, model):
    if "codec/decode_tokens" not in case:
        pytest.skip("this case records no decoding")
    codec = model.codec
    if "codec/full_to_quantize" in case:
        np.testing.assert_array_equal(codec.full_to_reduced[...], case["codec/full_to_quantize"])
        np.testing.assert_array_equal(codec.reduced_to_full[...], case["codec/quantize_to_full"])

    assert_pixels(codec.decode(jnp.asarray(case["codec/decode_tokens"])), case["codec/decode_pixels"])
    assert_pixels(codec.decode(jnp.asarray(case["codec/tokens"])), case["codec/roundtrip_pixels"])


@pytest.mark.cases("codec")
def test_codec_in_the_forms_of_large_models(case: Case, model, forms_of_large_models):
    test_encoding(case, model)
    test_decoding(case, model)
    assert forms_of_large_models == {"winograd"}


@pytest.mark.cases("codec")
def test_encoder_stages(case: Case, model):
    if "codec/enc_conv_in" not in case:
        pytest.skip("this case records no stages of the encoder")
    encoder, x = model.codec.encoder, images_to_float(nhwc(case["codec/image"]))[:1]
    first = encoder.down[0]
    stages = {
        "enc_conv_in": encoder.conv_in,
        "enc_down0_block0": first.blocks[0],
        "enc_down0_downsample": first.resample,
    }
    for name, stage in stages.items():
        x = stage(x)
        np.testing.assert_allclose(x, nhwc(case[f"codec/{name}"]), atol=1e-4, err_msg=name)


@pytest.mark.cases("codec")
def test_codebook_update(case: Case, model):
    if "ema/z" not in case:
        pytest.skip("this case records no update of the codebook")
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
