"""CLIP towers of Hugging Face transformers, beside transformers itself."""

import jax
import numpy as np
import pytest

from vqdiffusion_jax.config import CLIPTextConfig, CLIPVisionConfig
from vqdiffusion_jax.errors import CheckpointError, ConversionError
from vqdiffusion_jax.interop.clip.huggingface import read_clip, write_clip_text
from vqdiffusion_jax.interop.files.json_options import read_json, write_json
from vqdiffusion_jax.paths import leaves_by_path

TEXT = dict(
    vocab_size=60,
    hidden_size=16,
    intermediate_size=64,
    num_hidden_layers=3,
    num_attention_heads=2,
    max_position_embeddings=8,
    projection_dim=12,
    bos_token_id=58,
    eos_token_id=59,
)
VISION = dict(
    hidden_size=24,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=2,
    image_size=16,
    patch_size=8,
    projection_dim=12,
)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def transformers(torch):
    return pytest.importorskip("transformers")


@pytest.fixture(autouse=True)
def full_float32():
    with jax.default_matmul_precision("highest"):
        yield


def randomised(torch, model):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture(scope="module")
def clip(torch, transformers):
    return randomised(
        torch,
        transformers.CLIPModel(transformers.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=12)),
    )


@pytest.fixture(scope="module")
def saved(clip, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    clip.save_pretrained(folder)
    return folder


def ids():
    tokens = np.random.default_rng(0).integers(0, 58, (2, 8)).astype(np.int32)
    tokens[:, 5] = 59
    return tokens


def pixels():
    return np.random.default_rng(1).standard_normal((2, 16, 16, 3)).astype(np.float32)


def array(output):
    """Projected features: a tensor in transformers 4, an output with pooler_output in 5."""
    return getattr(output, "pooler_output", output).numpy()


def test_both_towers(torch, clip, saved):
    towers = read_clip(saved)
    assert towers.text.config == CLIPTextConfig(
        vocab_size=60, context_length=8, width=16, num_layers=3, num_heads=2, projection_width=12
    )
    assert towers.vision.config == CLIPVisionConfig(
        image_size=16, patch_size=8, width=24, num_layers=2, num_heads=2, mlp_ratio=2, projection_width=12
    )
    with torch.no_grad():
        states = clip.text_model(torch.from_numpy(ids()).long())[0].numpy()
        text = array(clip.get_text_features(torch.from_numpy(ids()).long()))
        image = array(clip.get_image_features(torch.from_numpy(pixels()).permute(0, 3, 1, 2)))
    np.testing.assert_allclose(towers.text(ids()), states, atol=2e-5)
    np.testing.assert_allclose(towers.text.pool(towers.text(ids()), ids()), text, atol=2e-5)
    np.testing.assert_allclose(towers.vision(pixels()), image, atol=2e-5)
    assert [name for name, _ in towers.report.ignored] == ["logit_scale"]


def test_other_widths_and_activations(torch, transformers, tmp_path):
    other = {"hidden_act": "gelu", "intermediate_size": 37}
    text, vision = TEXT | other, VISION | other
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
    clip = randomised(torch, transformers.CLIPModel(config))
    clip.save_pretrained(tmp_path)
    written = read_json(tmp_path / "config.json")
    # Older files have a second table, which counts.
    written["text_config_dict"], written["text_config"] = written["text_config"], {"hidden_size": 999}
    write_json(tmp_path / "config.json", written)
    towers = read_clip(tmp_path)
    assert (towers.text.config.mlp_width, towers.vision.config.activation) == (37, "gelu")
    with torch.no_grad():
        states = clip.text_model(torch.from_numpy(ids()).long())[0].numpy()
        image = array(clip.get_image_features(torch.from_numpy(pixels()).permute(0, 3, 1, 2)))
    np.testing.assert_allclose(towers.text(ids()), states, atol=2e-5)
    np.testing.assert_allclose(towers.vision(pixels()), image, atol=2e-5)


def test_bin_file(torch, clip, saved, tmp_path):
    write_json(tmp_path / "config.json", read_json(saved / "config.json"))
    torch.save(clip.state_dict(), tmp_path / "pytorch_model.bin")
    ours, theirs = (leaves_by_path(read_clip(folder).text) for folder in (tmp_path, saved))
    assert all(np.array_equal(leaf, theirs[path]) for path, leaf in ours.items())


def test_single_towers(torch, transformers, tmp_path):
    text = randomised(torch, transformers.CLIPTextModel(transformers.CLIPTextConfig(**TEXT)))
    projected = randomised(torch, transformers.CLIPTextModelWithProjection(transformers.CLIPTextConfig(**TEXT)))
    vision = randomised(torch, transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**VISION)))
    for name, model in (("text", text), ("projected", projected), ("vision", vision)):
        model.save_pretrained(tmp_path / name)
    with torch.no_grad():
        states = text(torch.from_numpy(ids()).long())[0].numpy()
        embeds = projected(torch.from_numpy(ids()).long()).text_embeds.numpy()
        image = vision(torch.from_numpy(pixels()).permute(0, 3, 1, 2)).image_embeds.numpy()
    read = read_clip(tmp_path / "text")
    assert (
        read.vision is None
        and "no text projection" in read.report.notes[0]
        and not read.text.text_projection[...].any()
    )
    np.testing.assert_allclose(read.text(ids()), states, atol=2e-5)
    read = read_clip(tmp_path / "projected")
    np.testing.assert_allclose(read.text.pool(read.text(ids()), ids()), embeds, atol=2e-5)
    read = read_clip(tmp_path / "vision")
    assert read.text is None
    np.testing.assert_allclose(read.vision(pixels()), image, atol=2e-5)


def test_text_tower_written_back(torch, transformers, saved, tmp_path):
    encoder = read_clip(saved).text
    write_clip_text(encoder, tmp_path, start=58, end=59, pad=0)
    model = transformers.CLIPTextModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        states = model(torch.from_numpy(ids()).long())[0].numpy()
    np.testing.assert_allclose(encoder(ids()), states, atol=2e-5)
    again, first = leaves_by_path(read_clip(tmp_path).text), leaves_by_path(encoder)
    assert all(np.array_equal(leaf, first[path]) for path, leaf in again.items() if path != "text_projection")


def test_other_models_are_refused_in_one_line(saved, tmp_path):
    config = read_json(saved / "config.json")
    cases = [
        ({"model_type": "bert"}, "model_type='bert' is not supported"),
        (
            {"text_config": config["text_config"] | {"hidden_act": "relu"}},
            "text_config: hidden_act='relu' is not supported",
        ),
        ({"vision_config": config["vision_config"] | {"patch_size": 5}}, "patch_size=5 does not divide image_size=16"),
        ({"text_config": config["text_config"] | {"intermediate_size": 0}}, "intermediate_size is 0; it must be"),
    ]
    for options, message in cases:
        write_json(tmp_path / "config.json", config | options)
        with pytest.raises(ConversionError, match=message) as error:
            read_clip(tmp_path)
        assert "\n" not in str(error.value)
    write_json(tmp_path / "config.json", config)
    with pytest.raises(CheckpointError, match="holds no weights; one of model.safetensors"):
        read_clip(tmp_path)
    with pytest.raises(CheckpointError, match="config.json does not exist"):
        read_clip(tmp_path / "nowhere")
