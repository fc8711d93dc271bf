"""Whatever file or folder there is, converted and read again; and one line for what is none of them."""

import dataclasses
import inspect
import weakref

import jax
import numpy as np
import pytest
from flax import nnx

from tests.interop.files import codec_config, codec_module, model_config, perturbed, same_leaves, save, schedule_buffers
from tests.networks import random_network
from vqdiffusion_jax import loading
from vqdiffusion_jax.config import CLIPTextConfig, CLIPVisionConfig, ComputeConfig, compute_in
from vqdiffusion_jax.errors import CheckpointError, ConfigError
from vqdiffusion_jax.interop.clip.huggingface import write_clip_text
from vqdiffusion_jax.interop.clip.openai_rules import text_rules, vision_rules
from vqdiffusion_jax.interop.codecs.rules import codec_rules
from vqdiffusion_jax.interop.engine import unapply
from vqdiffusion_jax.interop.load import load_reference, plan_reference
from vqdiffusion_jax.interop.reference.denoiser import denoiser_rules
from vqdiffusion_jax.models.clip import CLIPTextEncoder, CLIPVisionEncoder
from vqdiffusion_jax.models.codebook_reduction import first_codes_kept
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.pipeline import VQDiffusionPipeline
from vqdiffusion_jax.sharding import make_mesh
from vqdiffusion_jax.text.tokenizer import Tokenizer

FLOAT32 = ComputeConfig()
TOWER = {"width": 64, "num_layers": 2, "num_heads": 1, "mlp_ratio": 2, "projection_width": 6}
TABLES = ["full_to_reduced", "reduced_to_full"]


@pytest.fixture(scope="module")
def codec():
    return codec_module(codec_config("vq"))


@pytest.fixture(scope="module")
def model():
    return perturbed(random_network(VQDiffusionModel, model_config("text")))


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    """A text model as the reference saves it, and its table of kept codes."""
    folder = tmp_path_factory.mktemp("checkpoint")
    config = model.config
    tensors = unapply(
        codec_rules("content_codec.enc.", "content_codec.dec.", quantizer="gumbel"), model.codec, skip=TABLES
    )
    tensors |= unapply(denoiser_rules(condition="text", mlp=config.denoiser.mlp), model.denoiser)
    tensors |= schedule_buffers(config.schedule) | unapply(text_rules("transformer.condition_emb."), model.text_encoder)
    path = save(folder / "checkpoint.pth", {"model": tensors})
    return path, save(folder / "mapping.pt", np.asarray(model.codec.full_to_reduced[...]).astype(np.int64))


def codec_file(folder, codec):
    return save(
        folder / "codec.pth", {"state_dict": unapply(codec_rules(quantizer=codec.config.quantizer), codec, skip=TABLES)}
    )


def small_text_tower():
    return perturbed(random_network(CLIPTextEncoder, CLIPTextConfig(vocab_size=40, context_length=5, **TOWER)))


def same_numbers(ours, theirs) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a, np.float32), np.asarray(b)), ours, theirs)


def test_a_codec_alone(tmp_path, codec):
    source = codec_file(tmp_path, codec)
    loading.convert(source, tmp_path / "native")
    again = loading.load_codec(tmp_path / "native", compute=FLOAT32)
    assert again.config == dataclasses.replace(codec.config, image_size=256)  # no file tells it
    direct = loading.load_codec(source, image_size=8, compute=FLOAT32)
    same_leaves(direct, codec)
    same_numbers(jax.tree.leaves(again), jax.tree.leaves(codec))
    assert "load_codec" in (tmp_path / "native" / "README.md").read_text()


def test_nobody_keeps_an_array_of_the_host_that_has_been_copied(tmp_path, codec, checkpoint, monkeypatch):
    alive = []

    def copied(leaves, places=None):
        hosts = [weakref.ref(leaf) for leaf in leaves]
        for i in range(len(leaves)):
            leaves[i] = jax.numpy.asarray(np.array(leaves[i]))  # jax may hold what it is given a little longer
            alive.append(hosts[i]() is not None)
        return leaves

    monkeypatch.setattr(loading, "_one_by_one", copied)
    path, mapping = checkpoint
    source = codec_file(tmp_path, codec)
    tower = save(tmp_path / "clip.pt", unapply(text_rules(), small_text_tower()))
    for ask in (
        lambda: loading.load_model(path, mapping=mapping, weights="model", compute=FLOAT32),
        lambda: loading.load_model(path, mapping=mapping, weights="model", compute=FLOAT32, mesh=make_mesh(data=1)),
        lambda: loading.convert(path, tmp_path / "native", mapping=mapping, weights="model"),
        lambda: loading.load_codec(source, compute=FLOAT32),
        lambda: loading.load_clip(tower, compute=FLOAT32),
    ):
        alive.clear()
        ask()
        assert alive and not any(alive), inspect.getsource(ask)


def test_a_codec_with_kept_codes(tmp_path, codec):
    mapping = save(tmp_path / "mapping.pt", first_codes_kept(24, 7).full_to_reduced.astype(np.int64))
    loading.convert(codec_file(tmp_path, codec), tmp_path / "native", mapping=mapping)
    again = loading.load_codec(tmp_path / "native", compute=FLOAT32)
    assert again.config.reduced_codebook_size == 7
    np.testing.assert_array_equal(again.full_to_reduced[...], first_codes_kept(24, 7).full_to_reduced)


def test_both_towers_of_clip(tmp_path):
    text = small_text_tower()
    image = perturbed(random_network(CLIPVisionEncoder, CLIPVisionConfig(image_size=8, patch_size=4, **TOWER), seed=1))
    source = save(tmp_path / "clip.pt", unapply(text_rules(), text) | unapply(vision_rules(), image))
    loading.convert(source, tmp_path / "native")
    for path in (source, tmp_path / "native"):
        again_text, again_image = loading.load_clip(path, compute=FLOAT32)
        same_leaves(again_text, text)
        same_leaves(again_image, image)


def test_clip_of_hugging_face(tmp_path, model):
    folder = tmp_path / "huggingface"
    folder.mkdir()
    write_clip_text(model.text_encoder, folder, start=1, end=2, pad=0)
    loading.convert(folder, tmp_path / "native")
    text, image = loading.load_clip(tmp_path / "native", compute=FLOAT32)
    assert image is None
    text.text_projection[...] = model.text_encoder.text_projection[...]  # which a CLIPTextModel lacks
    same_leaves(text, model.text_encoder)


def test_parts_of_a_model_from_folders(tmp_path, model, checkpoint):
    path, mapping = checkpoint
    other = perturbed(model, seed=8)
    loading.convert(codec_file(tmp_path, other.codec), tmp_path / "kept", mapping=mapping)
    config = tmp_path / "kept" / "config.json"
    config.write_text(config.read_text().replace('"image_size": 256', '"image_size": 8'))
    (tmp_path / "clip").mkdir()
    write_clip_text(other.text_encoder, tmp_path / "clip", start=1, end=2, pad=0)
    made, report = load_reference(path, weights="model", codec=tmp_path / "kept", clip=tmp_path / "clip")
    same_leaves(made.codec, other.codec)
    same_numbers(made.text_encoder.blocks, other.text_encoder.blocks)
    same_leaves(made.denoiser, model.denoiser)
    assert any("no text projection" in note for note in report.notes)
    with pytest.raises(CheckpointError, match="holds a codec, not a clip"):
        load_reference(path, weights="model", mapping=mapping, clip=tmp_path / "kept")


def test_the_text_tower_has_its_own_arithmetic(tmp_path, model, checkpoint):
    path, mapping = checkpoint
    options = {
        "compute": ComputeConfig(dtype="bfloat16", param_dtype="bfloat16"),
        "weights": "model",
        "mapping": mapping,
    }
    default = VQDiffusionPipeline.from_pretrained(path, **options)
    assert default.model.text_encoder.compute.dtype == "bfloat16" and default.model.denoiser.compute.dtype == "bfloat16"
    same_leaves(jax.tree.leaves(default.model.text_encoder), jax.tree.leaves(model.text_encoder))  # not rounded
    VQDiffusionPipeline(model).save_pretrained(tmp_path / "native")
    for source, given in ((path, options), (tmp_path / "native", {})):
        tower = VQDiffusionPipeline.from_pretrained(source, clip_dtype="float16", **given).model.text_encoder
        assert tower.compute.dtype == "float16" and tower.blocks.mlp.up.kernel[...].dtype == np.float32
        assert tower(np.zeros((1, 3), np.int32)).dtype == np.float16
    with pytest.raises(ConfigError, match="allowed: float32, float16"):
        loading.load_model(path, clip_dtype="int8", **options)


@pytest.mark.parametrize("dtype", loading.MODEL_DTYPES)
def test_dtype_is_short_for_compute(tmp_path, model, checkpoint, dtype):
    path, mapping = checkpoint
    VQDiffusionPipeline(model).save_pretrained(tmp_path / "native")
    for source, given in ((tmp_path / "native", {}), (path, {"weights": "model", "mapping": mapping})):
        assert VQDiffusionPipeline.from_pretrained(source, dtype=dtype, **given).model.denoiser.compute == compute_in(
            dtype
        )


def test_options_that_there_are_not_are_named_in_one_line(tmp_path, model, checkpoint):
    assert loading.COMPANIONS == tuple(
        name for name in inspect.signature(plan_reference).parameters if name not in ("path", "tree")
    )
    path, mapping = checkpoint
    VQDiffusionPipeline(model).save_pretrained(tmp_path / "native")
    for source in (tmp_path / "native", path):
        for options, message in (
            ({"dtype": "float64"}, "dtype is 'float64'; allowed: float32, bfloat16, float8"),
            ({"dtype": "float32", "compute": FLOAT32}, "dtype and compute are both given; give one"),
            ({"torch_dtype": "int8"}, "dtype is 'int8'; allowed: float32, bfloat16, float8"),
            (
                {"varaint": "fp16", "maping": mapping},
                "maping, varaint: no such option; .*companions config, codec_config, mapping",
            ),
        ):
            with pytest.raises(ConfigError, match=message) as caught:
                VQDiffusionPipeline.from_pretrained(source, **options)
            assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="dtype: no such option; known: clip_dtype, and"):
        loading.convert(path, tmp_path / "out", dtype="float32")


def test_an_opened_model_has_the_tokenizer_of_its_folder(tmp_path, model, checkpoint):
    path, mapping = checkpoint
    loading.write_folder(
        tmp_path / "native", model, Tokenizer(dataclasses.replace(model.config.tokenizer, pad_token=7))
    )
    opened = loading.open_model(tmp_path / "native")
    loaded, tokenizer = loading.load_model(tmp_path / "native")
    assert opened.tokenizer(["a"])[0][0, -1] == tokenizer(["a"])[0][0, -1] == 7
    assert opened.config == loaded.config == model.config
    assert loading.open_model(path, weights="model", mapping=mapping).config.denoiser == model.config.denoiser


@pytest.mark.parametrize("safetensors", [False, True])
def test_a_codec_is_loaded_from_a_whole_model(tmp_path, model, safetensors):
    VQDiffusionPipeline(model).save_pretrained(tmp_path / "native", safetensors=safetensors)
    codec = loading.load_codec(tmp_path / "native", compute=FLOAT32)
    assert codec.config == model.codec.config
    jax.tree.map(np.testing.assert_array_equal, nnx.state(codec), nnx.state(model.codec))


def test_what_is_nothing_of_all_this_is_named_in_one_line(tmp_path, model, codec, checkpoint):
    path, mapping = checkpoint
    VQDiffusionPipeline(model).save_pretrained(tmp_path / "native")
    (tmp_path / "folder").mkdir()
    (tmp_path / "clip").mkdir()
    write_clip_text(model.text_encoder, tmp_path / "clip", start=1, end=2, pad=0)
    (tmp_path / "binary").mkdir()
    (tmp_path / "binary" / "config.json").write_bytes(b"\xff\xfe")
    loading.convert(codec_file(tmp_path, codec), tmp_path / "codec")
    convert = lambda source, **options: loading.convert(source, tmp_path / "out", **options)  # noqa: E731
    for call, source, options, message in (
        (convert, tmp_path / "native", {}, "is already converted"),
        (convert, tmp_path / "folder", {}, "is no model folder: it has neither config.json .* nor model_index.json"),
        (convert, mapping, {}, "give it as mapping"),
        (
            convert,
            save(tmp_path / "other.pth", {"weight": np.zeros(2)}),
            {},
            "neither a VQ-Diffusion checkpoint.*it holds weight",
        ),
        (convert, tmp_path / "codec.pth", {"weights": "model"}, "weights given, but .* is a codec alone"),
        (convert, tmp_path / "binary", {}, "binary/config.json is not readable JSON"),
        (loading.load_model, tmp_path / "folder", {}, "is no model folder"),
        (
            loading.load_model,
            tmp_path / "clip",
            {},
            "is a Hugging Face CLIP folder; a model folder, a diffusers folder or a .pth",
        ),
        (
            loading.load_model,
            tmp_path / "codec",
            {},
            "holds a codec, not a model; vqdiffusion_jax.loading.load_codec reads it",
        ),
        (loading.load_clip, tmp_path / "native", {}, "holds a model, not a clip"),
        (loading.load_codec, tmp_path / "codec", {"mapping": mapping}, "already converted"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            call(source, **options)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
