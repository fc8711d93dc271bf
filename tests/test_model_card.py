"""Cards of model folders tell what is known of the weights' origin, and no more; weights go out as safetensors too."""

import json
import os
from dataclasses import replace

import jax
import numpy as np
import pytest
import yaml

from tests.fake_hub import FakeHub, commit_of, served, use
from tests.interop.files import same_leaves
from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, loading, preset
from vqdiffusion_jax.config import ComputeConfig
from vqdiffusion_jax.errors import CheckpointError, ConfigError
from vqdiffusion_jax.interop.diffusers import write_diffusers
from vqdiffusion_jax.model_card import Origin, stated_license
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel

FLOAT32 = ComputeConfig()


@pytest.fixture(scope="module")
def model():
    config = preset("tiny_text")
    denoiser = replace(config.denoiser, position_grid=config.denoiser.grid)
    return random_network(
        VQDiffusionModel, replace(config, denoiser=denoiser, codec=replace(config.codec, quantizer="vq"))
    )


@pytest.fixture
def hub(tmp_path, monkeypatch):
    hub = FakeHub()
    with served(hub) as endpoint:
        hub.endpoint = endpoint
        use(monkeypatch, endpoint, tmp_path / "home")
        yield hub


def card_of(folder):
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "Microsoft" not in text
    return yaml.safe_load(text.split("---\n")[1]), text


def test_weights_of_ones_own_have_no_licence_and_no_base(model, tmp_path):
    VQDiffusionPipeline(model).save_pretrained(tmp_path / "own")
    head, text = card_of(tmp_path / "own")
    assert head == {
        "library_name": "vqdiffusion_jax",
        "pipeline_tag": "text-to-image",
        "tags": ["jax", "flax", "vq-diffusion"],
    }
    assert "Licence: none is recorded" in text and 'from_pretrained("own")' in text
    assert "origin" not in json.loads((tmp_path / "own" / "config.json").read_text())
    class_model = random_network(VQDiffusionModel, preset("tiny_class"))
    VQDiffusionPipeline(class_model).save_pretrained(tmp_path / "class")
    head, _ = card_of(tmp_path / "class")
    assert "pipeline_tag" not in head and "class-conditional" in head["tags"]


def test_the_origin_goes_from_the_hub_to_the_card_and_on(hub, model, tmp_path):
    write_diffusers(model, tmp_path / "diffusers")
    (tmp_path / "diffusers" / "README.md").write_text("---\nlicense: mit\ntags:\n- x\n---\n# A model\n")
    hub.add("acme/base", tmp_path / "diffusers")
    pipeline = VQDiffusionPipeline.from_pretrained("acme/base", compute=FLOAT32)
    assert pipeline.origin == Origin("hf://acme/base", "acme/base", commit_of("acme/base", "main"), "mit")
    pipeline.save_pretrained(tmp_path / "native")
    head, text = card_of(tmp_path / "native")
    assert (head["license"], head["base_model"]) == ("mit", "acme/base")
    assert "The weights are those of `hf://acme/base`, commit" in text
    again = VQDiffusionPipeline.from_pretrained(tmp_path / "native", compute=FLOAT32)
    assert again.origin == pipeline.origin
    again.model.denoiser = jax.tree.map(lambda leaf: leaf + 1, again.model.denoiser)
    again.save_pretrained(tmp_path / "changed")
    head, text = card_of(tmp_path / "changed")
    assert "license" not in head and head["base_model"] == "acme/base"
    assert "The weights began as those of `hf://acme/base`" in text and "Licence: none is recorded" in text


def test_a_converted_file_is_named(model, tmp_path):
    write_diffusers(model, tmp_path / "diffusers")
    loading.convert(tmp_path / "diffusers", tmp_path / "native", safetensors=True)
    head, text = card_of(tmp_path / "native")
    assert "license" not in head and "The weights are those of `diffusers`." in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        ("---\r\nlicense: 'apache-2.0'\r\n---\r\n", "apache-2.0"),
        ("# Title\nlicense: mit\n", None),
        ("---\nlicense:\n- mit\n---\n", None),
        ("---\ntags: x\n---\nlicense: mit\n", None),
    ],
)
def test_a_licence_is_read_from_the_head_alone(tmp_path, text, expected):
    (tmp_path / "README.md").write_bytes(text.encode())
    assert stated_license(tmp_path) == expected


def test_a_card_in_a_named_pipe_states_no_licence(tmp_path):
    os.mkfifo(tmp_path / "README.md")
    assert stated_license(tmp_path) is None


def test_safetensors_come_back_equal(model, tmp_path):
    pipeline = VQDiffusionPipeline(model)
    pipeline.save_pretrained(tmp_path / "model", safetensors=True)
    assert (tmp_path / "model" / "weights.safetensors").is_file() and not (tmp_path / "model" / "weights").exists()
    same_leaves(VQDiffusionPipeline.from_pretrained(tmp_path / "model", compute=FLOAT32).model, model)
    half = VQDiffusionPipeline.from_pretrained(tmp_path / "model", dtype="bfloat16").model.denoiser
    leaf = jax.tree.leaves(half)[0]
    assert leaf.dtype == "bfloat16"
    np.testing.assert_array_equal(leaf, jax.tree.leaves(model.denoiser)[0].astype("bfloat16"))
    with pytest.warns(UserWarning, match="held in bfloat16 are saved so"):
        VQDiffusionPipeline.from_pretrained(tmp_path / "model", dtype="bfloat16").save_pretrained(
            tmp_path / "half", safetensors=True
        )
    file = tmp_path / "model" / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="weights.safetensors is not a whole safetensors file"):
        VQDiffusionPipeline.from_pretrained(tmp_path / "model")


def test_safetensors_that_do_not_fit_are_refused(model, tmp_path):
    VQDiffusionPipeline(model).save_pretrained(tmp_path / "model", safetensors=True)
    head = json.loads((tmp_path / "model" / "config.json").read_text())
    head["model"]["denoiser"]["num_layers"] += 1
    (tmp_path / "model" / "config.json").write_text(json.dumps(head))
    with pytest.raises(CheckpointError, match="does not fit its config.json: denoiser.blocks.*expected"):
        VQDiffusionPipeline.from_pretrained(tmp_path / "model")


@pytest.mark.parametrize(
    ("mask", "file", "folder"), [(0o022, 0o644, 0o755), (0o002, 0o664, 0o775), (0o077, 0o600, 0o700)]
)
def test_others_may_read_what_the_umask_lets_them(model, tmp_path, mask, file, folder):
    before = os.umask(mask)
    try:
        write_diffusers(model, tmp_path / "diffusers")
        VQDiffusionPipeline(model).save_pretrained(tmp_path / "native")
        VQDiffusionPipeline(model).save_pretrained(tmp_path / "safetensors", safetensors=True)
    finally:
        os.umask(before)
    for path in tmp_path.rglob("*"):
        assert path.stat().st_mode & 0o777 == (folder if path.is_dir() else file), path


def test_a_model_is_pushed_and_comes_back(hub, model, tmp_path):
    with pytest.raises(CheckpointError, match="hf://acme/mine: .*log in with `hf auth login`, set HF_TOKEN"):
        VQDiffusionPipeline(model).push_to_hub("acme/mine", token=False)
    with pytest.raises(ConfigError, match="mine is no repository; write owner/name"):
        VQDiffusionPipeline(model).push_to_hub("mine")
    url = VQDiffusionPipeline(model).push_to_hub("acme/mine", token=hub.token, private=True, commit_message="The first")
    assert url == f"{hub.endpoint}/acme/mine/commit/{commit_of('acme/mine', 'main')}"
    assert hub.messages == ["The first"] and hub.private == {"acme/mine"}
    assert 'from_pretrained("acme/mine")' in hub.repos["acme/mine"]["main"]["README.md"].decode()
    VQDiffusionPipeline(model).push_to_hub("hf://acme/mine", token=hub.token, revision="next")
    for revision in ("main", "next"):
        back = VQDiffusionPipeline.from_pretrained("acme/mine", revision=revision, token=hub.token, compute=FLOAT32)
        same_leaves(back.model, model)
