"""Folders of diffusers' VQDiffusionPipeline: read, written, refused."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from vqdiffusion_jax.config import TokenizerConfig
from vqdiffusion_jax.errors import CheckpointError, ConversionError
from vqdiffusion_jax.interop.diffusers import read_diffusers, write_diffusers
from vqdiffusion_jax.interop.diffusers.rules import NULL
from vqdiffusion_jax.interop.files.json_options import read_json, write_json
from vqdiffusion_jax.interop.files.safetensors import open_safetensors, write_safetensors
from vqdiffusion_jax.models.shapes import shapes_of
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.paths import leaves_by_path
from vqdiffusion_jax.text.tokenizer import Tokenizer

CONTEXT, CODES, SIDE, TIMESTEPS = 8, 24, 4, 10
WEIGHT_FILES = {
    "transformer": "diffusion_pytorch_model",
    "vqvae": "diffusion_pytorch_model",
    "text_encoder": "model",
    NULL: "diffusion_pytorch_model",
}


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def diffusers(torch):
    module = pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    from diffusers.pipelines.deprecated.vq_diffusion.pipeline_vq_diffusion import (
        LearnedClassifierFreeSamplingEmbeddings,
    )

    # Where from_pretrained looks for it; diffusers itself no longer puts it there.
    module.LearnedClassifierFreeSamplingEmbeddings = LearnedClassifierFreeSamplingEmbeddings
    return module


def make_pipeline(torch, diffusers, folder):
    """Small, with every kind of block, and no parameter left at 0 or 1."""
    import transformers

    tokenizer = Tokenizer(TokenizerConfig(end_index=290, context_length=CONTEXT))
    tokenizer.to_files(folder / "vocabulary")
    clip = transformers.CLIPTextConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=16,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT,
        projection_dim=16,
        bos_token_id=544,
        eos_token_id=545,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    parts = {
        "vqvae": diffusers.VQModel(
            down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
            up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
            block_out_channels=(8, 16),
            layers_per_block=2,
            latent_channels=8,
            vq_embed_dim=6,
            num_vq_embeddings=CODES,
            norm_num_groups=4,
        ),
        "text_encoder": transformers.CLIPTextModel(clip),
        "transformer": diffusers.Transformer2DModel(
            num_attention_heads=2,
            attention_head_dim=12,
            num_layers=3,
            cross_attention_dim=16,
            attention_bias=True,
            sample_size=SIDE,
            num_vector_embeds=CODES + 1,
            num_embeds_ada_norm=TIMESTEPS,
            norm_type="ada_norm",
            activation_fn="geglu-approximate",
        ),
        NULL: diffusers.LearnedClassifierFreeSamplingEmbeddings(learnable=True, hidden_size=16, length=CONTEXT),
    }
    with torch.no_grad():
        for part in parts.values():
            for parameter in part.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
            part.eval()
    return diffusers.VQDiffusionPipeline(
        **parts,
        tokenizer=transformers.CLIPTokenizer.from_pretrained(
            folder / "vocabulary", pad_token="!", model_max_length=CONTEXT
        ),
        scheduler=diffusers.VQDiffusionScheduler(
            num_vec_classes=CODES + 1, num_train_timesteps=TIMESTEPS, alpha_cum_end=5e-6
        ),
    )


@pytest.fixture(scope="module")
def pipeline(torch, diffusers, tmp_path_factory):
    return make_pipeline(torch, diffusers, tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def saved(pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline") / "saved"
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def read(saved):
    return read_diffusers(saved)


@pytest.fixture
def copy(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "copy"))


@pytest.fixture(autouse=True)
def full_float32():
    with jax.default_matmul_precision("highest"):
        yield


def inputs(torch):
    rng = np.random.default_rng(1)
    tokens = rng.integers(0, CODES + 1, (2, SIDE * SIDE))
    condition = rng.standard_normal((2, CONTEXT, 16)).astype(np.float32)
    return tokens, condition, torch.from_numpy(tokens), torch.from_numpy(condition)


def assert_same_transformer(torch, transformer, denoiser):
    tokens, condition, torch_tokens, torch_condition = inputs(torch)
    for t in (0, TIMESTEPS - 1):
        with torch.no_grad():
            expected = transformer(
                torch_tokens, encoder_hidden_states=torch_condition, timestep=torch.tensor(t)
            ).sample.numpy()
        log_probs = jax.nn.log_softmax(denoiser(tokens.astype(np.int32), np.int32(t), condition))
        np.testing.assert_allclose(np.swapaxes(log_probs, 1, 2), expected, atol=1e-5)


def assert_same_arrays(a, b):
    ours, theirs = leaves_by_path(a), leaves_by_path(b)
    assert ours.keys() == theirs.keys()
    for path, array in ours.items():
        np.testing.assert_array_equal(np.asarray(array), np.asarray(theirs[path]), err_msg=path)


def random_model(config):
    rng = np.random.default_rng(3)
    module = shapes_of(VQDiffusionModel, config)
    return jax.tree.map(lambda leaf: rng.normal(0.1, 0.2, leaf.shape).astype(leaf.dtype), module)


def edit(path, **options):
    write_json(path, read_json(path) | options)


def test_config_is_read_from_the_parts(read):
    model, tokenizer, _ = read
    denoiser, codec = model.config.denoiser, model.config.codec
    assert (denoiser.width, denoiser.num_heads, denoiser.num_layers, denoiser.grid) == (24, 2, 3, (SIDE, SIDE))
    assert denoiser.learnable_null and denoiser.condition_length == CONTEXT and denoiser.activation == "gelu2"
    assert (codec.channels, codec.channel_multipliers, codec.attention_levels) == (8, (1, 2), (1,))
    assert (codec.image_size, codec.quantizer, codec.embed_dim, codec.norm_groups) == (8, "vq", 6, 4)
    assert model.config.schedule.keep_end == 5e-6 and model.config.schedule.num_timesteps == TIMESTEPS
    assert tokenizer.config == TokenizerConfig(end_index=290, context_length=CONTEXT)


def test_every_key_is_accounted_for(read, saved):
    report = read[2]
    stored = sum(len(open_safetensors(saved / part / f"{name}.safetensors")) for part, name in WEIGHT_FILES.items())
    assert len(report.mapped) + len(report.ignored) == stored
    assert report.left == ["text_encoder.text_projection"] and "zero" in report.notes[0]
    assert "transformer.transformer_blocks.N.norm1.emb.weight" in report.table()


def test_transformer_matches(torch, pipeline, read):
    assert_same_transformer(torch, pipeline.transformer, read[0].denoiser)


def test_exact_gelu_matches(torch, diffusers, copy):
    edit(copy / "transformer/config.json", activation_fn="gelu")
    transformer = diffusers.Transformer2DModel.from_pretrained(copy / "transformer").eval()
    assert_same_transformer(torch, transformer, read_diffusers(copy)[0].denoiser)


def test_codec_matches(torch, pipeline, read):
    codec, rng = read[0].codec, np.random.default_rng(2)
    images = rng.uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32)
    tokens = rng.integers(0, CODES, (2, SIDE * SIDE))
    with torch.no_grad():
        latents = pipeline.vqvae.encode(torch.from_numpy(images).permute(0, 3, 1, 2)).latents
        indices = pipeline.vqvae.quantize(latents)[2][2].reshape(2, -1)
        codes = pipeline.vqvae.quantize.get_codebook_entry(torch.from_numpy(tokens), shape=(2, SIDE, SIDE, 6))
        decoded = pipeline.vqvae.decode(codes, force_not_quantize=True).sample.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(codec.latents(images), latents.permute(0, 2, 3, 1), atol=1e-5)
    np.testing.assert_array_equal(codec.encode(images), indices)
    np.testing.assert_allclose(codec.decode(tokens.astype(np.int32)), np.clip(decoded, -1, 1), atol=1e-5)


def test_text_encoder_and_tokenizer_match(torch, pipeline, read):
    model, tokenizer, _ = read
    prompts = ["teddy bear", "", "an art of the one"]
    expected = pipeline.tokenizer(
        prompts, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt"
    ).input_ids
    ids, _ = tokenizer(prompts)
    np.testing.assert_array_equal(ids, expected)
    with torch.no_grad():
        states = pipeline.text_encoder(expected)[0].numpy()
    np.testing.assert_allclose(model.text_encoder(ids), states, atol=1e-5)
    null = pipeline.learned_classifier_free_sampling_embeddings.embeddings.detach()
    np.testing.assert_array_equal(model.denoiser.null_condition[...], null)


@pytest.mark.parametrize("learnable", [True, False])
def test_diffusers_loads_what_is_written(torch, diffusers, tmp_path, read, learnable):
    model = read[0]
    if not learnable:
        config = dataclasses.replace(
            model.config, denoiser=dataclasses.replace(model.config.denoiser, learnable_null=False)
        )
        model = random_model(config)
    write_diffusers(model, tmp_path / "written", read[1])
    loaded = diffusers.VQDiffusionPipeline.from_pretrained(tmp_path / "written")
    assert_same_transformer(torch, loaded.transformer, model.denoiser)
    ids = read[1](["an art"])[0]
    with torch.no_grad():
        states = loaded.text_encoder(torch.from_numpy(ids).long())[0].numpy()
    np.testing.assert_allclose(model.text_encoder(ids), states, atol=1e-5)
    assert loaded.learned_classifier_free_sampling_embeddings.learnable == learnable
    settings = dict(
        num_inference_steps=2, guidance_scale=2.0, output_type="np", generator=torch.Generator().manual_seed(0)
    )
    assert loaded(["an art"], **settings).images.shape == (1, 8, 8, 3)


def test_round_trip_is_bit_identical(tmp_path, read, saved):
    model, tokenizer, _ = read
    write_diffusers(model, tmp_path / "written", tokenizer)
    again, tokenizer_again, _ = read_diffusers(tmp_path / "written")
    assert again.config == model.config and tokenizer_again.vocabulary.ids == tokenizer.vocabulary.ids
    assert_same_arrays(model, again)
    for part, name in WEIGHT_FILES.items():
        first, second = (
            open_safetensors(root / part / f"{name}.safetensors") for root in (saved, tmp_path / "written")
        )
        first, second = (
            {key.removeprefix("text_model."): np.asarray(t) for key, t in file.items()} for file in (first, second)
        )
        assert first.keys() == second.keys()
        assert all(np.array_equal(array, second[key]) for key, array in first.items())


@pytest.mark.parametrize("legacy", [False, True])
def test_bin_files(torch, pipeline, read, copy, legacy):
    for part, name in WEIGHT_FILES.items():
        (copy / part / f"{name}.safetensors").unlink()
        stem = "pytorch_model" if part == "text_encoder" else name
        torch.save(
            getattr(pipeline, part).state_dict(), copy / part / f"{stem}.bin", _use_new_zipfile_serialization=not legacy
        )
    assert_same_arrays(read_diffusers(copy)[0], read[0])


def rewrite(path, rename):
    tensors = {rename(name): np.asarray(tensor) for name, tensor in open_safetensors(path).items()}
    path.unlink()
    write_safetensors(path, tensors)


def test_old_attention_names(read, copy):
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(name):
        for new, before in old.items():
            name = name.replace(f".{new}.", f".{before}.")
        return name

    rewrite(copy / "vqvae/diffusion_pytorch_model.safetensors", rename)
    assert any("proj_attn" in name for name in open_safetensors(copy / "vqvae/diffusion_pytorch_model.safetensors"))
    assert_same_arrays(read_diffusers(copy)[0], read[0])


@pytest.mark.parametrize("prefix", ["", "text_model."])
def test_text_encoder_prefixes_and_position_ids(read, copy, prefix):
    path = copy / "text_encoder/model.safetensors"
    tensors = {prefix + name.removeprefix("text_model."): np.asarray(t) for name, t in open_safetensors(path).items()}
    tensors[f"{prefix}embeddings.position_ids"] = np.arange(CONTEXT)[None].astype(np.float32)
    path.unlink()
    write_safetensors(path, tensors)
    model, _, report = read_diffusers(copy)
    assert_same_arrays(model, read[0])
    assert [name for name, _ in report.ignored] == [f"text_encoder.{prefix}embeddings.position_ids"]


def test_shards(read, copy):
    path = copy / "transformer/diffusion_pytorch_model.safetensors"
    tensors = {name: np.asarray(tensor) for name, tensor in open_safetensors(path).items()}
    path.unlink()
    places = {name: f"part-{i % 2}.safetensors" for i, name in enumerate(tensors)}
    for shard in set(places.values()):
        write_safetensors(
            path.parent / shard, {name: tensors[name] for name, place in places.items() if place == shard}
        )
    write_json(path.parent / f"{path.name}.index.json", {"weight_map": places})
    assert_same_arrays(read_diffusers(copy)[0], read[0])
    (path.parent / "part-1.safetensors").unlink()
    with pytest.raises(CheckpointError, match="part-1.safetensors does not exist"):
        read_diffusers(copy)


def test_bfloat16_files(read, copy):
    import ml_dtypes

    path = copy / "transformer/diffusion_pytorch_model.safetensors"
    tensors = {name: np.asarray(tensor).astype(ml_dtypes.bfloat16) for name, tensor in open_safetensors(path).items()}
    path.unlink()
    write_safetensors(path, tensors)
    kernel = read_diffusers(copy)[0].denoiser.logits.kernel[...]
    np.testing.assert_array_equal(
        kernel, read[0].denoiser.logits.kernel[...].astype(ml_dtypes.bfloat16).astype(np.float32)
    )


@pytest.mark.parametrize("absent", [True, False])
def test_without_learned_embeddings(read, copy, absent):
    shutil.rmtree(copy / NULL)
    if absent:  # of a pipeline that never had them
        index = json.loads((copy / "model_index.json").read_text())
        write_json(copy / "model_index.json", {name: value for name, value in index.items() if name != NULL})
    else:
        (copy / NULL).mkdir()
        write_json(copy / NULL / "config.json", {"learnable": False})
    model, _, report = read_diffusers(copy)
    assert not model.config.denoiser.learnable_null and model.denoiser.null_condition is None
    assert any("learnable_null is False" in note for note in report.notes)


@pytest.mark.parametrize(
    ("file", "options", "message"),
    [
        ("transformer/config.json", {"double_self_attention": True}, "double_self_attention=True is not supported"),
        ("transformer/config.json", {"norm_type": "ada_norm_zero"}, "norm_type='ada_norm_zero' is not supported"),
        ("transformer/config.json", {"only_cross_attention": True}, "only_cross_attention=True is not supported"),
        ("transformer/config.json", {"activation_fn": "geglu"}, "activation_fn='geglu' is not supported"),
        ("transformer/config.json", {"norm_eps": 1e-6}, "norm_eps=1e-06 is not supported"),
        ("transformer/config.json", {"num_layers": "3"}, "num_layers is '3'; it must be a whole number"),
        ("vqvae/config.json", {"norm_type": "spatial"}, "norm_type='spatial' is not supported"),
        ("vqvae/config.json", {"up_block_types": ["UpDecoderBlock2D"] * 2}, "must describe the same levels"),
        ("vqvae/config.json", {"block_out_channels": [8, 12]}, "no multiple of the first"),
        ("text_encoder/config.json", {"hidden_act": "relu"}, "hidden_act='relu' is not supported"),
        ("vqvae/config.json", {"num_vq_embeddings": 23}, "the codec gives 23 codes but the denoiser expects 24"),
        ("scheduler/scheduler_config.json", {"num_vec_classes": 24}, "made for 23 codes but the denoiser expects 24"),
        (f"{NULL}/config.json", {"length": 7}, "length and hidden_size are"),
        ("model_index.json", {"_class_name": "StableDiffusionPipeline"}, "must be of a VQDiffusionPipeline"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(copy, file, options, message):
    edit(copy / file, **options)
    with pytest.raises(ConversionError, match=message) as error:
        read_diffusers(copy)
    assert "\n" not in str(error.value) and (str(copy)) in str(error.value)


def test_missing_and_corrupt_files_are_named_in_one_line(copy):
    weights = copy / "vqvae/diffusion_pytorch_model.safetensors"
    content = weights.read_bytes()
    for damaged in (content[:100], content[:-1], b"", b"version https://git-lfs.github.com/spec/v1\n"):
        weights.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="vqvae") as error:
            read_diffusers(copy)
        assert "\n" not in str(error.value)
    weights.unlink()
    with pytest.raises(CheckpointError, match="holds no weights; one of diffusion_pytorch_model.safetensors"):
        read_diffusers(copy)
    config = json.loads((copy / "transformer/config.json").read_text())
    (copy / "transformer/config.json").write_text("{")
    with pytest.raises(CheckpointError, match="transformer/config.json is not readable JSON"):
        read_diffusers(copy)
    write_json(copy / "transformer/config.json", config)
    shutil.rmtree(copy / "tokenizer")
    with pytest.raises(ConversionError, match="lacks the folder tokenizer, which its model_index.json names"):
        read_diffusers(copy)
    (copy / "tokenizer").mkdir()
    with pytest.raises(ConversionError, match="tokenizer is not the folder of a CLIP tokenizer"):
        read_diffusers(copy)
    with pytest.raises(CheckpointError, match="model_index.json does not exist"):
        read_diffusers(copy / "nowhere")


def test_missing_and_unknown_keys_are_all_listed(copy):
    rewrite(
        copy / "transformer/diffusion_pytorch_model.safetensors",
        lambda name: "surprise.weight" if name == "out.weight" else name,
    )
    with pytest.raises(ConversionError) as error:
        read_diffusers(copy)
    assert "denoiser.logits.kernel" in str(error.value) and "transformer.surprise.weight" in str(error.value)


def test_writing_is_whole_or_not_at_all(tmp_path, read, monkeypatch):
    model, tokenizer, _ = read
    target = tmp_path / "written"
    target.mkdir()
    (target / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="not an empty folder"):
        write_diffusers(model, target, tokenizer)
    assert (target / "mine.txt").read_text() == "keep"

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("vqdiffusion_jax.interop.diffusers.folder._write_tokenizer", fail)
    with pytest.raises(OSError, match="disk full"):
        write_diffusers(model, tmp_path / "other", tokenizer)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["written"]


def test_ema_codec_is_read_back_as_vq(tmp_path, read):
    config = read[0].config
    config = dataclasses.replace(config, codec=dataclasses.replace(config.codec, quantizer="ema"))
    model = random_model(config)
    write_diffusers(model, tmp_path / "written", read[1])
    again = read_diffusers(tmp_path / "written")[0]
    assert again.config.codec.quantizer == "vq"
    np.testing.assert_array_equal(again.codec.quantizer.codebook[...], model.codec.quantizer.codebook[...])
