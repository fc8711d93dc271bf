"""Models by their names on the hub, by the real client against a server on this machine."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.fake_hub import FakeHub, commit_of, served, use
from tests.interop.files import perturbed, same_leaves
from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, loading, preset
from vqdiffusion_jax.config import ComputeConfig
from vqdiffusion_jax.errors import CheckpointError, ConfigError, ConversionError
from vqdiffusion_jax.hub import HubAddress, hub_address_of, locate
from vqdiffusion_jax.hub_files import PARTS, choose
from vqdiffusion_jax.interop.diffusers import write_diffusers
from vqdiffusion_jax.interop.diffusers.folder import _WEIGHTS
from vqdiffusion_jax.interop.diffusers.rules import NULL
from vqdiffusion_jax.interop.files.safetensors import open_safetensors, write_safetensors
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel

REPO = Path(__file__).resolve().parents[1]
NAME = "acme/vq-diffusion-tiny"
FLOAT32 = ComputeConfig()


def tiny():
    config = preset("tiny_text")
    return replace(
        config,
        denoiser=replace(config.denoiser, position_grid=config.denoiser.grid),
        codec=replace(config.codec, quantizer="vq"),
    )


@pytest.fixture(scope="module")
def model():
    return perturbed(random_network(VQDiffusionModel, tiny()))


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "diffusers"
    write_diffusers(model, folder)
    return folder


@pytest.fixture
def hub(tmp_path, monkeypatch, folder):
    hub = FakeHub()
    hub.add(NAME, folder)
    hub.repos[NAME]["main"] |= {"safety_checker/pytorch_model.bin": b"x", "transformer/pytorch_model.bin": b"x"}
    with served(hub) as endpoint:
        hub.endpoint = endpoint
        use(monkeypatch, endpoint, tmp_path / "home")
        monkeypatch.chdir(tmp_path)
        yield hub


def in_half(folder: Path, place: Path) -> Path:
    """Write the folder's weights in float16, with every number half as large, under the same names."""
    for file in folder.rglob("*"):
        target = place / file.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".safetensors":
            tensors = {name: np.asarray(tensor) for name, tensor in open_safetensors(file).items()}
            write_safetensors(target, {name: (array / 2).astype(np.float16) for name, array in tensors.items()})
        elif file.is_file():
            target.write_bytes(file.read_bytes())
    return place


def codebook(pipeline):
    return np.asarray(pipeline.model.codec.quantizer.codebook[...])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("owner/name", HubAddress("owner/name")),
        ("owner/name@fp16", HubAddress("owner/name", "fp16")),
        ("hf://owner/name", HubAddress("owner/name")),
        ("hf://owner/name/", HubAddress("owner/name")),
        ("hf://owner/name@v1.0/a/b", HubAddress("owner/name", "v1.0", "a/b")),
        ("hf://owner/name@refs/pr/3/vqvae", HubAddress("owner/name", "refs/pr/3", "vqvae")),
        ("hf://owner/name@feature%2Fx", HubAddress("owner/name", "feature/x")),
        (Path("hf://owner/name/x.pth"), HubAddress("owner/name", None, "x.pth")),
        ("emoji", None),
        ("runs/model.pth", None),
        ("/owner/name", None),
        ("./owner/name", None),
        ("a/b/c", None),
    ],
)
def test_addresses(text, expected):
    assert hub_address_of(text) == expected


@pytest.mark.parametrize("text", ["hf://name", "hf://a/b@", "hf:///a/b", "hf://a b/c"])
def test_what_is_no_address_is_refused_as_typed(text):
    with pytest.raises(ConfigError, match=r"is no address on the hub; write hf://owner/name\[@revision\]") as caught:
        locate(text)
    assert text in str(caught.value)


def test_a_diffusers_folder_by_name_fetches_what_is_needed(hub, model):
    pipeline = VQDiffusionPipeline.from_pretrained(NAME, compute=FLOAT32)
    same_leaves(pipeline.model.denoiser, model.denoiser)
    assert pipeline.tokenizer.vocab_size == model.text_encoder.config.vocab_size
    fetched = hub.fetched()
    assert sorted(fetched) == sorted(set(fetched)) and "transformer/diffusion_pytorch_model.safetensors" in fetched
    assert not any(name.endswith(".bin") for name in fetched)
    hub.requests.clear()
    VQDiffusionPipeline.from_pretrained(f"hf://{NAME}@main", compute=FLOAT32)
    assert not hub.fetched()


def test_a_subfolder_and_a_revision(hub, folder, tmp_path):
    hub.add("acme/many", folder, revision="old", below="models/tiny")
    hub.repos["acme/many"]["main"] = {"README.md": b"moved"}
    for place, options in (
        ("hf://acme/many@old/models/tiny", {}),
        ("acme/many", {"revision": "old", "subfolder": "models/tiny"}),
        ("hf://acme/many/models", {"revision": commit_of("acme/many", "old"), "subfolder": "tiny"}),
    ):
        assert VQDiffusionPipeline.from_pretrained(place, **options).config.codec.quantizer == "vq"
    with pytest.raises(ConfigError, match="revision is 'new', but .* names 'old'; leave one of them out"):
        locate("hf://acme/many@old", revision="new")
    with pytest.raises(
        CheckpointError, match="acme/many@old/modls: it has no file or folder 'modls'; it holds models/"
    ):
        locate("hf://acme/many@old/modls")
    with pytest.raises(CheckpointError, match="hf://acme/many: the repository holds neither model_index.json"):
        locate("acme/many")


def test_the_fp16_revision_and_the_fp16_variant(hub, folder, tmp_path):
    half = in_half(folder, tmp_path / "half")
    hub.add(NAME, half, revision="fp16")
    whole = codebook(VQDiffusionPipeline.from_pretrained(NAME, compute=FLOAT32))
    old = codebook(VQDiffusionPipeline.from_pretrained(NAME, revision="fp16", compute=FLOAT32))
    np.testing.assert_array_equal(old, (whole / 2).astype(np.float16))
    with pytest.raises(CheckpointError, match="it has no variant 'fp16'; it has full precision alone"):
        locate(NAME, variant="fp16")
    for file in half.rglob("*.safetensors"):
        name = file.relative_to(half).with_suffix(".fp16.safetensors").as_posix()
        hub.repos[NAME]["main"][name] = file.read_bytes()
    hub.repos[NAME]["next"] = hub.repos[NAME].pop("main")
    hub.requests.clear()
    given = {"revision": "next", "compute": FLOAT32}
    np.testing.assert_array_equal(codebook(VQDiffusionPipeline.from_pretrained(NAME, variant="fp16", **given)), old)
    assert all(".fp16." in name for name in hub.fetched() if name.endswith(".safetensors"))
    np.testing.assert_array_equal(codebook(VQDiffusionPipeline.from_pretrained(NAME, **given)), whole)
    np.testing.assert_array_equal(codebook(VQDiffusionPipeline.from_pretrained(NAME, variant="fp16", **given)), old)
    with pytest.raises(CheckpointError, match="it has no variant 'fp8'; it has fp16"):
        locate(NAME, revision="next", variant="fp8")


def test_a_connection_that_breaks_is_taken_up_again(hub):
    hub.cut["diffusion_pytorch_model.safetensors"] = [5000]
    VQDiffusionPipeline.from_pretrained(NAME)
    stored = [path for method, path, _ in hub.requests if method == "GET" and path.startswith("/store/")]
    assert len(stored) > len(set(stored))


def test_half_a_download_is_finished_by_the_next(hub):
    name = "diffusion_pytorch_model.safetensors"
    part = f"transformer/{name}"
    whole = hub.repos[NAME]["main"].pop(part)
    with pytest.raises(CheckpointError, match="holds no weights"):
        VQDiffusionPipeline.from_pretrained(NAME)
    hub.repos[NAME]["main"][part] = whole
    hub.repos[NAME]["next"] = hub.repos[NAME].pop("main")
    hub.requests.clear()
    VQDiffusionPipeline.from_pretrained(NAME, revision="next")
    asked = [path for method, path, _ in hub.requests if method == "GET" and path.startswith("/store/")]
    assert len(asked) == 1  # the other parts are known by their hashes


def test_half_a_folder_on_the_hub_is_told_with_its_address(hub):
    files = hub.repos[NAME]["main"]
    whole = dict(files)
    for name in [name for name in files if name.startswith("tokenizer/")]:
        del files[name]
    hub.repos["acme/many"] = {"old": {f"models/tiny/{name}": content for name, content in files.items()}}
    for place in (NAME, "hf://acme/many@old/models/tiny"):
        with pytest.raises(ConversionError) as caught:
            VQDiffusionPipeline.from_pretrained(place)
        address = place if "://" in place else f"hf://{place}"
        assert str(caught.value).startswith(f"{address} lacks the folder tokenizer, which its model_index.json names")
    index = json.loads(files["model_index.json"])
    del index[NULL]
    plain = {name: content for name, content in whole.items() if not name.startswith(NULL)}
    hub.repos["acme/plain"] = {"main": plain | {"model_index.json": json.dumps(index).encode()}}
    with pytest.warns(UserWarning, match="^hf://acme/plain: "):
        loading.open_model("acme/plain")
    files["vqvae/config.json"] = b"{"
    files["text_encoder/config.json"] = b"{"
    hub.repos[NAME]["next"] = hub.repos[NAME].pop("main")
    for load, part in ((loading.load_codec, "vqvae"), (loading.load_clip, "text_encoder")):
        with pytest.raises(ValueError, match=f"hf://{NAME}@next/{part}/config.json is no JSON"):
            load(NAME, revision="next")


def test_the_cache_serves_without_a_network(hub, monkeypatch, tmp_path):
    from huggingface_hub import constants

    with pytest.raises(CheckpointError, match="it is not in the cache .* local_files_only is True; leave it out"):
        locate(NAME, local_files_only=True)
    place = locate(NAME).path
    hub.requests.clear()
    assert locate(NAME, local_files_only=True).path == place and not hub.requests
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.warns(UserWarning, match="the copy in the cache is used, as the hub cannot be reached"):
        assert locate(NAME).path == place
    with pytest.raises(
        CheckpointError, match="cannot be reached; check the network, name a mirror in HF_ENDPOINT, or download"
    ):
        locate("acme/other")
    (place / NULL / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="the cache lacks .*; load it once with a connection"):
        locate(NAME, local_files_only=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="not in the cache .*elsewhere.* HF_HUB_OFFLINE is set; unset it"):
        locate(NAME, cache_dir=tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (NAME, {"token": "hf_wrong"}, "does not take the token; log in with `hf auth login`, set HF_TOKEN"),
        ("acme/nothing", {}, "shows no such repository; check the name or, if it is private, log in"),
        ("acme/private", {}, "shows no such repository; check the name or, if it is private, log in"),
        ("acme/gated", {}, "it is gated: accept its terms on http://127.0.0.1:.*/acme/gated, then log in"),
        (NAME, {"revision": "v9"}, "it has no revision 'v9'; name a branch, a tag or a commit"),
        (NAME, {"token": True}, "token is True, but there is none on this machine; log in"),
    ],
)
def test_what_keeps_a_model_away_is_one_line(hub, folder, name, options, message):
    for other in ("acme/private", "acme/gated"):
        hub.add(other, folder)
    hub.private.add("acme/private")
    hub.gated.add("acme/gated")
    with pytest.raises(CheckpointError, match=message) as caught:
        VQDiffusionPipeline.from_pretrained(name, **options)
    assert "\n" not in str(caught.value) and "hf_wrong" not in str(caught.value) and name in str(caught.value)


def test_the_right_token_opens_what_is_private(hub, folder):
    hub.add("acme/private", folder)
    hub.private.add("acme/private")
    assert locate("acme/private", token="hf_right").address == HubAddress("acme/private")


def test_a_full_disk_is_told(hub, monkeypatch):
    import huggingface_hub

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(CheckpointError, match="the disk of .* is full; make room, or name another place in HF_HOME"):
        locate(NAME)


def test_a_local_folder_of_the_name_comes_first(hub, model):
    VQDiffusionPipeline(model).save_pretrained(Path(NAME))
    assert locate(NAME).path == Path(NAME) and not hub.requests
    assert locate(f"hf://{NAME}").address == HubAddress(NAME)
    with pytest.warns(UserWarning, match="revision=fp16 goes with a repository of the hub"):
        locate(NAME, revision="fp16")


def test_a_folder_called_emoji_does_not_shadow_the_embedded_model(hub):
    Path("emoji").mkdir()
    with pytest.warns(UserWarning, match="emoji is the model that comes with the package; .* is ./emoji"):
        assert locate("emoji").path.parent.name == "assets"
    assert locate("./emoji").path == locate(Path("emoji")).path == Path("emoji")


def test_what_is_nowhere_is_told_with_the_nearest_name(hub):
    Path("models").mkdir()
    Path("models/ithq.pth").touch()
    for text, near in (("emojy", "emoji"), ("models/itqh.pth", "models/ithq.pth")):
        with pytest.raises(
            FileNotFoundError, match=f"the name emoji or emoji16, or owner/name or hf://.*did you mean {near}?"
        ):
            locate(text)


def test_a_codec_and_clip_by_name(hub, model, folder, tmp_path):
    for place in (NAME, f"hf://{NAME}/vqvae", folder, folder / "vqvae"):
        codec = loading.load_codec(place, compute=FLOAT32)
        assert codec.config == model.codec.config
        same_leaves(codec, model.codec)
    assert not any("transformer/diffusion" in name for name in hub.fetched())
    for place in (NAME, f"hf://{NAME}/text_encoder", folder):
        text, image = loading.load_clip(place, compute=FLOAT32)
        assert image is None
        same_leaves(text.blocks, model.text_encoder.blocks)
    loading.convert(folder / "vqvae", tmp_path / "codec")
    same_leaves(loading.load_codec(tmp_path / "codec", compute=FLOAT32).decoder, model.codec.decoder)


def test_a_model_folder_and_a_single_file_by_name(hub, model, tmp_path):
    VQDiffusionPipeline(model).save_pretrained(tmp_path / "native")
    hub.add("acme/native", tmp_path / "native")
    hub.repos["acme/native"]["main"]["samples/grid.png"] = b"x"
    same_leaves(VQDiffusionPipeline.from_pretrained("acme/native", compute=FLOAT32).model, model)
    assert "samples/grid.png" not in hub.fetched()
    hub.repos["acme/files"] = {"main": {"a.pth": b"1", "b.pth": b"2"}}
    assert locate("hf://acme/files/b.pth").path.read_bytes() == b"2"
    with pytest.raises(CheckpointError, match="holds several checkpoint files; name one of them: a.pth, b.pth"):
        locate("acme/files")


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        (None, ["m.safetensors.index.json", "m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"]),
        ("fp16", ["m.safetensors.index.fp16.json", "m.fp16-00001-of-00001.safetensors"]),
    ],
)
def test_shards_of_one_variant(variant, expected):
    stem = "diffusion_pytorch_model"
    names = [
        "m.safetensors.index.json",
        "m-00001-of-00002.safetensors",
        "m-00002-of-00002.safetensors",
        "m.safetensors.index.fp16.json",
        "m.fp16-00001-of-00001.safetensors",
        "m.bin",
    ]
    names = [f"vqvae/{name.replace('m', stem, 1)}" for name in names]
    chosen = choose(["vqvae/config.json", *names], "vqvae", "codec", variant).names
    assert set(chosen) == {"vqvae/config.json", *(f"vqvae/{name.replace('m', stem, 1)}" for name in expected)}


def test_the_parts_fetched_are_those_that_are_read():
    assert set(PARTS) == set(_WEIGHTS)


def test_unknown_options_and_kinds_are_refused():
    with pytest.raises(ConfigError, match="revison is no option of a place on the hub; known: revision, variant"):
        loading.load_clip("emoji", revison="x")
    with pytest.raises(ConfigError, match="revision is 3; it must be a text"):
        locate("a/b", revision=3)
    with pytest.raises(ConfigError, match="token is int; it must be a text"):
        locate("a/b", token=12345)


def test_the_command_line_draws_by_name(hub, tmp_path):
    command = [sys.executable, str(REPO / "main.py"), f"--checkpoint=hf://{NAME}", "--prompt=a", "--batch_size=1"]
    command += ["--num_inference_steps=2", f"--out={tmp_path / 'out'}"]
    env = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "fresh")}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "000000.png").is_file()
    assert f'"checkpoint": "hf://{NAME}"' in (tmp_path / "out" / "000000.json").read_text()
    done = subprocess.run([*command, "--checkpoint=acme/none"], env=env, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "no such repository" in done.stderr
