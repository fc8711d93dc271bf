from dataclasses import replace
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vqdiffusion_jax.config import ComputeConfig, VQGANConfig
from vqdiffusion_jax.errors import ConfigError
from vqdiffusion_jax.models.codebook_reduction import first_codes_kept
from vqdiffusion_jax.models.convolution import pointwise
from vqdiffusion_jax.models.layers import Buffer
from vqdiffusion_jax.models.quantizers import gumbel_noise
from vqdiffusion_jax.models.shapes import Keys, shapes_of
from vqdiffusion_jax.models.vqgan import VQGAN, encode_exactly, images_to_float, to_255, to_uint8
from vqdiffusion_jax.presets import CODECS

TINY = VQGANConfig(
    quantizer="vq",
    codebook_size=24,
    embed_dim=6,
    image_size=8,
    channels=8,
    channel_multipliers=(1, 2),
    num_res_blocks=1,
    attention_levels=(1,),
    z_channels=8,
    norm_groups=4,
)
TINY_GUMBEL = replace(TINY, quantizer="gumbel", reduced_codebook_size=10)


def images(batch=2, seed=0):
    return jax.random.uniform(jax.random.key(seed), (batch, 8, 8, 3), minval=-1.0, maxval=1.0)


def build(config, compute=ComputeConfig()):
    """Return a codec of random numbers, biases and norms included, drawn by numpy, which compiles nothing."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        if jnp.issubdtype(leaf.dtype, jnp.integer):
            return leaf
        centre = 1.0 if "scale" in jax.tree_util.keystr(path) else 0.0
        spread = max(prod(leaf.shape[:-1]), 9) ** -0.5
        return jnp.asarray(centre + spread * rng.standard_normal(leaf.shape), leaf.dtype)

    codec = jax.tree_util.tree_map_with_path(draw, shapes_of(VQGAN, config, compute))
    if config.reduced_codebook_size is not None:
        tables = first_codes_kept(config.codebook_size, config.reduced_codebook_size)
        codec.full_to_reduced, codec.reduced_to_full = (Buffer(jnp.asarray(table)) for table in tables)
    return codec


@pytest.fixture(scope="module")
def codec():
    return build(TINY)


@pytest.fixture(scope="module")
def gumbel_codec():
    return build(TINY_GUMBEL)


encode = jax.jit(VQGAN.encode)
latents_of = jax.jit(VQGAN.latents)
decode = jax.jit(VQGAN.decode, static_argnames="images_at_once")


def size(*parts):
    return sum(prod(leaf.shape) for leaf in jax.tree.leaves(parts))


@pytest.mark.parametrize(
    ("name", "encoding", "decoding", "whole"),
    [
        ("openimages_f8_8192", 30_614_016, 42_584_451, 68_995_971),
        ("imagenet_f16_16384", 33_558_272, 46_709_891, 76_073_859),
        ("ffhq_f16_1024", 29_626_112, 42_777_731, 72_141_699),
        (
            "ithq_f8_4096",
            25_757_504 + 524_288,
            37_727_875 + 524_288,
            63_485_379 + 524_288,
        ),  # its codebook is counted apart there
    ],
)
def test_parameter_counts_of_the_released_codecs(name, encoding, decoding, whole):
    codec = nnx.state(shapes_of(VQGAN, CODECS[name]), nnx.Param)
    assert size(codec["encoder"], codec["quant_conv"], codec["quantizer"]) == encoding
    assert size(codec["decoder"], codec["post_quant_conv"], codec["quantizer"]) == decoding
    assert size(codec) == whole


def test_shapes_and_ranges(codec):
    x = images(3)
    latents = latents_of(codec, x)
    assert latents.shape == (3, 4, 4, 6) and latents.dtype == jnp.float32
    tokens = encode(codec, x)
    assert tokens.shape == (3, 16) and tokens.dtype == jnp.int32
    np.testing.assert_array_equal(tokens, codec.quantizer.tokens(latents).reshape(3, 16))
    pixels = decode(codec, tokens)
    assert pixels.shape == (3, 8, 8, 3) and pixels.dtype == jnp.float32
    assert float(jnp.abs(pixels).max()) <= 1.0


def test_decode_clips(codec):
    loud = jax.tree.map(lambda leaf: leaf, codec)
    loud.decoder.conv_out.kernel[...] = 100.0 * codec.decoder.conv_out.kernel[...]
    pixels = decode(loud, jnp.zeros((1, 16), jnp.int32))
    assert float(pixels.max()) == 1.0 and float(pixels.min()) == -1.0


def test_a_token_of_a_windowed_encoder_depends_on_its_window_alone():
    windowed = build(replace(TINY, encoder_window=4))
    shown = images()
    before = windowed.encode(shown).reshape(2, 4, 4)
    after = windowed.encode(shown.at[:, :4, 4:].set(-shown[:, :4, 4:])).reshape(2, 4, 4)
    changed = np.asarray(before != after)
    assert changed[:, :2, 2:].any() and not changed[:, 2:].any() and not changed[:, :, :2].any()
    moved = windowed.encode(jnp.roll(shown, 4, axis=2)).reshape(2, 4, 4)
    np.testing.assert_array_equal(moved, jnp.roll(before, 2, axis=2))
    alone = build(replace(TINY, image_size=4))
    np.testing.assert_array_equal(alone.encode(shown[:, 4:, :4]).reshape(2, 2, 2), before[:, 2:, :2])
    with pytest.raises(ConfigError, match="encoder_window is 3; it must be a multiple of the downsampling of 2"):
        replace(TINY, encoder_window=3)


@pytest.mark.parametrize("images_at_once", [1, 2, 5])
def test_decoding_in_pieces_gives_the_same_images(codec, images_at_once):
    tokens = jax.random.randint(jax.random.key(0), (5, 16), 0, 24)
    np.testing.assert_allclose(decode(codec, tokens, images_at_once=images_at_once), decode(codec, tokens), atol=1e-5)


def test_gumbel_encoding_replays_noise_draws_by_key_and_is_greedy_without(gumbel_codec):
    x, key = images(), jax.random.key(7)
    noise = gumbel_noise(key, 2, 16, 24)
    drawn = encode(gumbel_codec, x, gumbel=noise)
    np.testing.assert_array_equal(drawn, encode(gumbel_codec, x, key=key))
    logits = gumbel_codec.quantizer.logits(latents_of(gumbel_codec, x)).reshape(2, 16, 24)
    table = np.asarray(gumbel_codec.full_to_reduced[...])
    np.testing.assert_array_equal(drawn, table[np.asarray((logits + noise).argmax(-1))])
    np.testing.assert_array_equal(encode(gumbel_codec, x), table[np.asarray(logits.argmax(-1))])
    assert not np.array_equal(drawn, encode(gumbel_codec, x, key=jax.random.key(8)))
    np.testing.assert_array_equal(encode(gumbel_codec, x[:1], key=key), drawn[:1])


def test_other_codecs_ignore_noise(codec):
    x = images()
    np.testing.assert_array_equal(encode(codec, x, key=jax.random.key(0)), encode(codec, x))


def test_tokens_that_are_kept_are_made_in_full_float32_on_accelerators_too(codec):
    images = jax.ShapeDtypeStruct((1, TINY.image_size, TINY.image_size, 3), jnp.float32)
    for platform in ("cuda", "tpu"):
        text = jax.jit(encode_exactly).trace(codec, images).lower(lowering_platforms=(platform,)).as_text()
        products = [
            line for line in text.splitlines() if "stablehlo.convolution" in line or "stablehlo.dot_general" in line
        ]
        assert products and all("HIGHEST" in line and "DEFAULT" not in line for line in products)


def test_reduction_is_applied_both_ways(gumbel_codec):
    tables = np.arange(24) % 10, np.arange(10) + 10  # any tables, so that a swap or an omission shows
    codec = jax.tree.map(lambda leaf: leaf, gumbel_codec)
    codec.full_to_reduced[...], codec.reduced_to_full[...] = (jnp.asarray(table, jnp.int32) for table in tables)
    full = build(replace(TINY_GUMBEL, reduced_codebook_size=None))
    np.testing.assert_array_equal(encode(codec, images()), tables[0][np.asarray(encode(full, images()))])
    tokens = jax.random.randint(jax.random.key(0), (2, 16), 0, 10)
    np.testing.assert_allclose(decode(codec, tokens), decode(full, tables[1][np.asarray(tokens)]), atol=1e-6)
    trained, all_codes = (jax.tree.structure(nnx.state(each, nnx.Param)) for each in (codec, full))
    assert trained == all_codes, "the tables are no parameters"


def test_tokens_that_are_no_codes(codec, gumbel_codec):
    tokens = jnp.zeros((2, 16), jnp.int32).at[1, 3].set(24)
    with pytest.raises(
        ValueError, match=r"token 24 at \(1, 3\) is out of range \(that is \[MASK\]: .*allowed: 0 to 23"
    ) as error:
        codec.decode(tokens)
    assert "\n" not in str(error.value)
    for one in (codec, gumbel_codec):  # under jit: no error can be raised, but no wrong picture either
        mask = one.config.num_codes
        broken = decode(one, jnp.zeros((2, 16), jnp.int32).at[1, 3].set(mask))
        assert jnp.isnan(broken[1]).any() and not jnp.isnan(broken[0]).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: c.encode(jnp.zeros((1, 16, 8, 3))), r"shape \(1, 16, 8, 3\); this codec takes \(batch, 8, 8, 3\)"),
        (lambda c: c.encode(jnp.zeros((8, 8, 3))), r"takes \(batch, 8, 8, 3\)"),
        (lambda c: c.encode(jnp.zeros((1, 8, 8, 3), jnp.uint8)), r"images are uint8; .*images_to_float"),
        (
            lambda c: c.encode(jnp.zeros((1, 8, 8, 3)), key=jax.random.key(0), gumbel=jnp.zeros((1, 16, 24))),
            r"key or gumbel, not both",
        ),
        (
            lambda c: c.encode(jnp.zeros((1, 8, 8, 3)), key=jax.random.key(0), temperature=0.0),
            r"temperature is 0.0; it must be above 0",
        ),
        (
            lambda c: c.decode(jnp.zeros((1, 15), jnp.int32)),
            r"shape \(1, 15\); this codec takes \(batch, 16\), a 4 x 4 grid",
        ),
        (lambda c: c.decode(jnp.zeros((1, 16))), r"tokens are float32"),
        (lambda c: c.decode(jnp.zeros((1, 16), jnp.int32), images_at_once=0), r"images_at_once is 0"),
    ],
)
def test_errors_are_one_line(gumbel_codec, call, message):
    with pytest.raises(ValueError, match=message) as error:
        call(gumbel_codec)
    assert "\n" not in str(error.value)


def test_norm_groups_must_divide_the_first_width():
    with pytest.raises(ConfigError, match="6 channels are not divisible by norm_groups=4"):
        replace(TINY, channels=6, channel_multipliers=(2, 4))


def test_pixel_conversions():
    pixels = np.asarray([0, 1, 128, 254, 255], np.uint8)
    x = images_to_float(pixels)
    assert x.dtype == jnp.float32 and float(x[0]) == -1.0 and float(x[-1]) == 1.0
    np.testing.assert_allclose(to_255(x), pixels, atol=1e-4)
    np.testing.assert_array_equal(images_to_float(pixels.astype(np.float32)), x)
    np.testing.assert_array_equal(to_uint8(x, rounding="round"), pixels)
    middling = jnp.asarray([-2.0, 10.7, 10.2, 254.9, 300.0]) / 127.5 - 1.0
    np.testing.assert_array_equal(to_uint8(middling), [0, 10, 10, 254, 255])
    np.testing.assert_array_equal(to_uint8(middling, rounding="round"), [0, 11, 10, 255, 255])
    with pytest.raises(ValueError, match="rounding is 'floor'; allowed: truncate, round"):
        to_uint8(x, rounding="floor")


def test_bfloat16_compute_stays_near_float32_and_returns_float32(codec):
    half = build(TINY, ComputeConfig(dtype="bfloat16"))
    x, tokens = images(), jax.random.randint(jax.random.key(0), (2, 16), 0, 24)
    latents = latents_of(half, x)
    assert latents.dtype == jnp.float32
    np.testing.assert_allclose(latents, latents_of(codec, x), atol=0.03)
    pixels = decode(half, tokens)
    assert pixels.dtype == jnp.float32
    np.testing.assert_allclose(pixels, decode(codec, tokens), atol=0.05)


def test_half_precision_parameters_leave_the_codebook_float32():
    stored = shapes_of(VQGAN, TINY_GUMBEL, ComputeConfig(param_dtype="bfloat16"))
    assert stored.encoder.conv_in.kernel.dtype == jnp.bfloat16
    exact = (
        stored.quant_conv,
        stored.encoder.conv_out,
        stored.encoder.norm_out,
        stored.decoder.conv_out,
        stored.decoder.norm_out,
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(exact)} == {jnp.dtype("float32")}
    assert {leaf.dtype for leaf in jax.tree.leaves(stored.quantizer)} == {jnp.dtype("float32")}


def test_weights_and_biases_start_uniform_by_fan_in():
    layer = pointwise(16, 400, ComputeConfig(), rngs=Keys(0))
    for leaf in (layer.kernel[...], layer.bias[...]):
        assert 0.24 < float(leaf.max()) <= 0.25 and -0.25 <= float(leaf.min()) < -0.24


def test_fresh_codec_keeps_the_first_codes():
    @jax.jit
    def tables():
        fresh = VQGAN(TINY_GUMBEL, rngs=Keys(0))
        return fresh.full_to_reduced[...], fresh.reduced_to_full[...]

    jax.tree.map(np.testing.assert_array_equal, tables(), tuple(first_codes_kept(24, 10)))


def test_one_config_is_one_tree_structure(codec):
    assert jax.tree.structure(codec) == jax.tree.structure(jax.eval_shape(lambda: VQGAN(TINY, rngs=Keys(0))))


def test_recomputing_activations_changes_no_gradient(codec):
    again = build(TINY, ComputeConfig(remat=True))
    gradient = jax.jit(jax.grad(lambda part, x: jnp.square(part(x)).mean()))
    pairs = (jax.tree.leaves(gradient(one.encoder, images())) for one in (codec, again))
    for a, b in zip(*pairs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_dropout_needs_a_key_and_a_rate(codec):
    dropping, key = build(replace(TINY, dropout=0.5)), jax.random.key(0)
    plain = latents_of(codec, images())
    np.testing.assert_allclose(latents_of(codec, images(), dropout_key=key), plain, atol=1e-5)
    np.testing.assert_allclose(latents_of(dropping, images()), plain, atol=1e-5)
    dropped = latents_of(dropping, images(), dropout_key=key)
    assert not np.allclose(dropped, plain, atol=1e-2)
    assert not np.allclose(dropped, latents_of(dropping, images(), dropout_key=jax.random.key(1)), atol=1e-2)


# Parity with diffusers' VQModel, an independent PyTorch implementation of the same network, on random weights.

PEER = VQGANConfig(
    quantizer="vq",
    codebook_size=24,
    embed_dim=6,
    image_size=16,
    channels=8,
    channel_multipliers=(1, 2, 2),
    num_res_blocks=1,
    attention_levels=(2,),
    z_channels=8,
    norm_groups=4,
)


def peer_model(diffusers, torch):
    torch.manual_seed(0)
    levels = len(PEER.channel_multipliers)
    plain, attending = ["DownEncoderBlock2D"] * (levels - 1), "AttnDownEncoderBlock2D"
    model = diffusers.VQModel(
        down_block_types=(*plain, attending),
        up_block_types=("AttnUpDecoderBlock2D", *["UpDecoderBlock2D"] * (levels - 1)),
        block_out_channels=tuple(PEER.channels * m for m in PEER.channel_multipliers),
        layers_per_block=PEER.num_res_blocks,
        latent_channels=PEER.z_channels,
        sample_size=PEER.image_size,
        num_vq_embeddings=PEER.codebook_size,
        norm_num_groups=PEER.norm_groups,
        vq_embed_dim=PEER.embed_dim,
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        model.quantize.embedding.weight.normal_()
    return model


def copy_layer(ours, theirs):
    weight = theirs.weight.detach().numpy()
    if weight.ndim == 4:
        weight = weight[:, :, 0, 0].T if isinstance(ours, nnx.Linear) else weight.transpose(2, 3, 1, 0)
    elif weight.ndim == 2:
        weight = weight.T
    target = ours.kernel if hasattr(ours, "kernel") else ours.scale
    assert target.shape == weight.shape
    target[...], ours.bias[...] = jnp.asarray(weight), jnp.asarray(theirs.bias.detach().numpy())


def copy_resnet(ours, theirs):
    for name in ("norm1", "conv1", "norm2", "conv2"):
        copy_layer(getattr(ours, name), getattr(theirs, name))
    assert (ours.shortcut is None) == (theirs.conv_shortcut is None)
    if ours.shortcut is not None:
        copy_layer(ours.shortcut, theirs.conv_shortcut)


def copy_attention(ours, theirs):
    assert theirs.heads == 1
    names = {"norm": "group_norm", "query": "to_q", "key": "to_k", "value": "to_v"}
    for name, their_name in names.items():
        copy_layer(getattr(ours, name), getattr(theirs, their_name))
    copy_layer(ours.out, theirs.to_out[0])


def copy_half(ours, theirs, levels, their_blocks, resamplers):
    for name, their_name in {"conv_in": "conv_in", "norm_out": "conv_norm_out", "conv_out": "conv_out"}.items():
        copy_layer(getattr(ours, name), getattr(theirs, their_name))
    copy_resnet(ours.middle.block1, theirs.mid_block.resnets[0])
    copy_attention(ours.middle.attention, theirs.mid_block.attentions[0])
    copy_resnet(ours.middle.block2, theirs.mid_block.resnets[1])
    for level, block in zip(levels, their_blocks, strict=True):
        for ours_resnet, resnet in zip(level.blocks, block.resnets, strict=True):
            copy_resnet(ours_resnet, resnet)
        for ours_attention, attention in zip(level.attentions, getattr(block, "attentions", []), strict=True):
            copy_attention(ours_attention, attention)
        if level.resample is not None:
            copy_layer(level.resample, getattr(block, resamplers)[0].conv)


def test_parity_with_diffusers():
    torch, diffusers = pytest.importorskip("torch"), pytest.importorskip("diffusers")
    peer, codec = peer_model(diffusers, torch), build(PEER)
    copy_half(codec.encoder, peer.encoder, codec.encoder.down, peer.encoder.down_blocks, "downsamplers")
    copy_half(codec.decoder, peer.decoder, codec.decoder.up, list(peer.decoder.up_blocks)[::-1], "upsamplers")
    copy_layer(codec.quant_conv, peer.quant_conv)
    copy_layer(codec.post_quant_conv, peer.post_quant_conv)
    codec.quantizer.codebook[...] = jnp.asarray(peer.quantize.embedding.weight.detach().numpy())

    x = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
    with torch.no_grad():
        latents = peer.encode(torch.from_numpy(x.transpose(0, 3, 1, 2))).latents
        codes, _, (_, _, indices) = peer.quantize(latents)
        pixels = peer.decode(codes, force_not_quantize=True).sample.numpy().transpose(0, 2, 3, 1)

    with jax.default_matmul_precision("highest"):
        ours = latents_of(codec, x)
        tokens = encode(codec, jnp.asarray(x))
        images = jax.jit(VQGAN.decode_latents)(codec, codec.codes(tokens))
    np.testing.assert_allclose(ours, latents.numpy().transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(tokens, indices.numpy().reshape(2, -1))
    assert len(np.unique(tokens)) > 3
    np.testing.assert_allclose(images, pixels, rtol=1e-4, atol=1e-4)
