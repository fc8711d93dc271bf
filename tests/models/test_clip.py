"""CLIP's towers against Hugging Face's PyTorch ones, and every option of the text condition."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vqdiffusion_jax.config import CLIPTextConfig, CLIPVisionConfig, ComputeConfig, TextEmbeddingConfig
from vqdiffusion_jax.models.clip import CLIPTextEncoder, CLIPVisionEncoder, normalize_images, text_embedding
from vqdiffusion_jax.models.shapes import shapes_of

TEXT = CLIPTextConfig(vocab_size=40, context_length=12, width=16, num_layers=3, num_heads=2, projection_width=10)
VISION = CLIPVisionConfig(image_size=12, patch_size=4, width=24, num_layers=2, num_heads=3, projection_width=10)
START, END = 38, 39

embedded = jax.jit(text_embedding, static_argnums=2)


@jax.jit
def run(encoder, inputs):
    return encoder(inputs)


def randomized(module, seed=0, scale=0.3):
    """Move every parameter away from its initial 0 or 1, so that a swapped or skipped one shows."""
    leaves, tree = jax.tree.flatten(module)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    return jax.tree.unflatten(
        tree,
        [leaf + scale * jax.random.normal(k, leaf.shape, leaf.dtype) for leaf, k in zip(leaves, keys, strict=True)],
    )


def text_tower(config=TEXT, **compute):
    return randomized(CLIPTextEncoder(config, ComputeConfig(**compute), rngs=nnx.Rngs(0)))


def prompts(seed=0, n=4):
    """Return ids (n, 12): start, a few tokens, end, zeros."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((n, TEXT.context_length), np.int32)
    for row in ids:
        length = rng.integers(0, TEXT.context_length - 1)
        row[: length + 2] = [START, *rng.integers(0, START, length), END]
    return ids


def huggingface_state(module, prefix):
    """Return our parameters under Hugging Face's names, as torch tensors."""
    import torch

    state = {}

    def put(name, array, transpose=False):
        array = np.array(array[...])
        state[name] = torch.tensor(array.T.copy() if transpose else array)

    def put_linear(name, kernel, bias):
        put(name + ".weight", kernel, transpose=True)
        put(name + ".bias", bias)

    for i in range(module.config.num_layers):
        block = jax.tree.map(lambda leaf, i=i: leaf[i], module.blocks)
        layer = f"{prefix}encoder.layers.{i}."
        for ours, theirs in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("out", "out_proj")):
            part = getattr(block.attention, ours)
            put_linear(f"{layer}self_attn.{theirs}", part.kernel, part.bias)
        put_linear(layer + "mlp.fc1", block.mlp.up.kernel, block.mlp.up.bias)
        put_linear(layer + "mlp.fc2", block.mlp.down.kernel, block.mlp.down.bias)
        for ours, theirs in ((block.norm1, "layer_norm1"), (block.norm2, "layer_norm2")):
            put(f"{layer}{theirs}.weight", ours.scale)
            put(f"{layer}{theirs}.bias", ours.bias)
    put(prefix + "embeddings.position_embedding.weight", module.position_embedding)
    return state, put


def load_strictly(peer, state):
    """Load under the names that this version of transformers uses ("text_model." came and went)."""
    wanted = {name for name in peer.state_dict() if not name.endswith("position_ids")}
    by_suffix = {name: next(key for key in state if name.endswith(key)) for name in wanted}
    assert len(set(by_suffix.values())) == len(state)
    peer.load_state_dict({name: state[key] for name, key in by_suffix.items()}, strict=False)
    return peer.eval()


def shared_settings(config):
    return dict(
        hidden_size=config.width,
        intermediate_size=config.mlp_width,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        projection_dim=config.projection_width,
        hidden_act={"gelu2": "quick_gelu", "gelu": "gelu"}[config.activation],
        layer_norm_eps=1e-5,
    )


@pytest.mark.parametrize("changes", [{}, {"mlp_ratio": 37 / TEXT.width, "activation": "gelu"}], ids=["openai", "other"])
def test_text_tower_matches_transformers(changes):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    ours, ids = text_tower(dataclasses.replace(TEXT, **changes)), prompts()
    state, put = huggingface_state(ours, "")
    put("embeddings.token_embedding.weight", ours.token_embedding.embedding)
    put("final_layer_norm.weight", ours.final_norm.scale)
    put("final_layer_norm.bias", ours.final_norm.bias)
    put("text_projection.weight", ours.text_projection, transpose=True)
    config = transformers.CLIPTextConfig(
        vocab_size=TEXT.vocab_size,
        max_position_embeddings=TEXT.context_length,
        bos_token_id=START,
        eos_token_id=END,
        pad_token_id=0,
        **shared_settings(ours.config),
    )
    peer = load_strictly(transformers.CLIPTextModelWithProjection(config), state)
    with torch.no_grad():
        expected = peer(input_ids=torch.tensor(ids, dtype=torch.long))
    states = run(ours, ids)
    np.testing.assert_allclose(states, expected.last_hidden_state.numpy(), atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(ours.pool(states, ids), expected.text_embeds.numpy(), atol=2e-5, rtol=1e-5)


def test_vision_tower_matches_transformers():
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    ours = randomized(CLIPVisionEncoder(VISION, rngs=nnx.Rngs(0)))
    images = np.random.default_rng(1).normal(size=(2, 12, 12, 3)).astype(np.float32)
    state, put = huggingface_state(ours, "")
    put("embeddings.class_embedding", ours.class_embedding)
    state["embeddings.patch_embedding.weight"] = torch.tensor(
        np.array(ours.patch_embedding.kernel[...]).transpose(3, 2, 0, 1).copy()
    )
    for part, name in ((ours.pre_norm, "pre_layrnorm"), (ours.final_norm, "post_layernorm")):
        put(name + ".weight", part.scale)
        put(name + ".bias", part.bias)
    put("visual_projection.weight", ours.projection, transpose=True)
    config = transformers.CLIPVisionConfig(
        image_size=VISION.image_size, patch_size=VISION.patch_size, **shared_settings(VISION)
    )
    peer = load_strictly(transformers.CLIPVisionModelWithProjection(config), state)
    with torch.no_grad():
        expected = peer(pixel_values=torch.tensor(images.transpose(0, 3, 1, 2).copy())).image_embeds
    np.testing.assert_allclose(run(ours, images), expected.numpy(), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(("tower", "count"), [(CLIPTextEncoder, 63_428_096), (CLIPVisionEncoder, 87_849_216)])
def test_vit_b_32_parameter_count(tower, count):
    shapes = shapes_of(tower)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count


def test_scanned_and_unrolled_layers_share_parameters_and_agree():
    scanned, unrolled, ids = text_tower(), text_tower(scan_layers=False), prompts()
    assert jax.tree.map(jnp.shape, jax.tree.leaves(scanned)) == jax.tree.map(jnp.shape, jax.tree.leaves(unrolled))
    np.testing.assert_allclose(run(scanned, ids), run(unrolled, ids), atol=2e-6, rtol=1e-5)


def test_text_is_read_causally_and_padding_is_attended():
    encoder, ids = text_tower(), prompts()
    states = run(encoder, ids)
    changed = np.where(np.arange(TEXT.context_length) == 6, 7, ids)
    np.testing.assert_allclose(run(encoder, changed)[:, :6], states[:, :6], atol=1e-6)
    assert np.abs(run(encoder, changed)[:, 7:] - states[:, 7:]).max() > 1e-3
    np.testing.assert_allclose(run(encoder, ids[:, :5]), states[:, :5], atol=2e-6)


def test_negative_ids_count_as_zero():
    encoder, ids = text_tower(), prompts()
    negative = np.where(ids == 0, -100, ids)
    for option in (TextEmbeddingConfig(), TextEmbeddingConfig(pick_last=True)):
        np.testing.assert_array_equal(embedded(encoder, negative, option), embedded(encoder, ids, option))


def test_default_condition_is_every_state_at_unit_length():
    encoder, ids = text_tower(), prompts()
    condition = text_embedding(encoder, ids)
    states = np.asarray(run(encoder, ids))
    np.testing.assert_allclose(condition, states / np.linalg.norm(states, axis=-1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(embedded(encoder, ids, TextEmbeddingConfig(normalize=False)), states, atol=1e-6)


def test_options_of_the_picked_state():
    encoder, ids = text_tower(), prompts()
    states = np.asarray(run(encoder, ids))
    last = states[np.arange(len(ids)), (ids == END).argmax(-1)] @ np.asarray(encoder.text_projection[...])
    unit = last / np.linalg.norm(last, axis=-1, keepdims=True)

    def chosen(**options):
        return embedded(encoder, ids, TextEmbeddingConfig(**options))

    np.testing.assert_allclose(chosen(pick_last=True), unit, atol=1e-6)
    np.testing.assert_allclose(chosen(pick_last=True, normalize=False), last, atol=1e-5)
    np.testing.assert_allclose(chosen(pick_last=True, keep_length_axis=True), unit[:, None], atol=1e-6)
    # doubling comes before the norm, so each half has length 1 / sqrt(2)
    doubled = chosen(pick_last=True, keep_length_axis=True, double=True)
    np.testing.assert_allclose(doubled, np.concatenate([unit, unit], -1)[:, None] / np.sqrt(2), atol=1e-6)
    features, additional = chosen(additional_last=True, keep_length_axis=True)
    np.testing.assert_allclose(features, chosen(), atol=1e-6)
    np.testing.assert_allclose(additional, last[:, None], atol=1e-5)
    assert chosen(additional_last=True)[1].shape == last.shape


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 4e-3), ("bfloat16", 4e-2)])
def test_half_precision_stays_close(dtype, tolerance):
    ids = prompts()
    condition = embedded(text_tower(dtype=dtype), ids, TextEmbeddingConfig())
    assert condition.dtype == dtype
    np.testing.assert_allclose(
        condition.astype(jnp.float32), embedded(text_tower(), ids, TextEmbeddingConfig()), atol=tolerance
    )


def test_norm_parameters_are_not_rounded_to_half_precision():
    encoder = text_tower(dtype="float16")
    block = jax.tree.map(lambda leaf: leaf[0], encoder.blocks)
    assert block.norm1(jnp.ones((1, 2, TEXT.width), jnp.float16)).dtype == jnp.float32
    assert block(jnp.ones((1, 2, TEXT.width), jnp.float16), causal=True).dtype == jnp.float16


def test_vision_tower_in_half_precision():
    images = np.random.default_rng(2).uniform(size=(2, 12, 12, 3)).astype(np.float32)
    exact, half = (
        randomized(CLIPVisionEncoder(VISION, ComputeConfig(dtype=d), rngs=nnx.Rngs(0))) for d in ("float32", "bfloat16")
    )
    expected, found = run(exact, normalize_images(images)), run(half, normalize_images(images))
    assert found.dtype == jnp.bfloat16 and found.shape == (2, VISION.projection_width)
    cosine = (
        jnp.sum(expected * found, -1)
        / jnp.linalg.norm(expected, axis=-1)
        / jnp.linalg.norm(found.astype(jnp.float32), axis=-1)
    )
    assert cosine.min() > 0.99


def test_normalized_images_have_clip_statistics():
    np.testing.assert_allclose(normalize_images(jnp.array([0.48145466, 0.4578275, 0.40821073])), 0.0, atol=1e-7)
    np.testing.assert_allclose(normalize_images(jnp.ones((1, 1, 3)))[0, 0], [1.930336, 2.074884, 2.145897], rtol=1e-5)


def test_errors_say_what_is_taken():
    encoder = text_tower()
    with pytest.raises(ValueError, match=r"shape \(2, 13\); .*length at most 12"):
        encoder(np.zeros((2, 13), np.int32))
    with pytest.raises(ValueError, match=r"shape \(12,\)"):
        encoder(np.zeros(12, np.int32))
    with pytest.raises(ValueError, match="float32; .* integers"):
        encoder(np.zeros((2, 12), np.float32))
    with pytest.raises(ValueError, match="token id 40 is beyond .* vocabulary of 40"):
        encoder(np.full((2, 12), 40, np.int32))
    with pytest.raises(ValueError, match=r"shape \(2, 3, 12, 12\); .*\(batch, 12, 12, 3\)"):
        CLIPVisionEncoder(VISION, rngs=nnx.Rngs(0))(np.zeros((2, 3, 12, 12), np.float32))


def test_configuration_is_static():
    encoder = text_tower()
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(encoder))
    assert dataclasses.is_dataclass(encoder.config) and hash(encoder.config) == hash(TEXT)
