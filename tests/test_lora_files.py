"""Files of a LoRA, and a pipeline that uses, weighs and forgets them."""

import json

import jax
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from tests.in_process import left_as_it_was
from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.cli import run
from vqdiffusion_jax.cli.loras import absolute, divided, named
from vqdiffusion_jax.cli.main import parse
from vqdiffusion_jax.cli.replay import take_again
from vqdiffusion_jax.errors import CheckpointError, ConfigError, UsageError
from vqdiffusion_jax.loading import write_folder
from vqdiffusion_jax.lora_files import read_lora, write_lora
from vqdiffusion_jax.models.denoiser import Denoiser
from vqdiffusion_jax.models.lora import LoRA, init
from vqdiffusion_jax.models.shapes import shapes_of
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.random_keys import key_of

MODEL = preset("tiny_class")


def trained(seed=0, config=MODEL.denoiser, **options) -> LoRA:
    draw, new = np.random.default_rng(seed), init(shapes_of(Denoiser, config), rank=2, alpha=4.0, key=key_of(0))
    return jax.tree.map(lambda leaf: draw.normal(size=leaf.shape).astype(np.float32) * 0.3, new)


@pytest.fixture(scope="module")
def model():
    return random_network(VQDiffusionModel, MODEL)


@pytest.fixture
def pipeline(model):
    return VQDiffusionPipeline(model)


@pytest.fixture
def file(tmp_path):
    write_lora(tmp_path / "lora.safetensors", trained(), base="owner/name")
    return tmp_path / "lora.safetensors"


def drawn(pipeline):
    return pipeline(class_labels=[1], num_inference_steps=3, output_type="tokens", progress=False).tokens


def same(tree, other):
    jax.tree.map(np.testing.assert_array_equal, tree, other)


def test_a_file_gives_back_what_was_written(file):
    found = read_lora(file)
    assert found.alpha == 4.0 and found.rank == 2
    same(found, trained())
    same(read_lora(file.parent), found)
    with safe_open(file, framework="numpy") as opened:
        assert json.loads(opened.metadata()["lora"]) == {"rank": 2, "alpha": 4.0, "base": "owner/name"}


def test_an_adapter_changes_pictures_and_unloading_gives_the_base_back(pipeline, model, file):
    before, leaves = drawn(pipeline), jax.tree.leaves(model)
    pipeline.load_lora_weights(file)
    assert pipeline.get_active_adapters() == ["default_0"]
    assert pipeline.model is not model and not np.array_equal(drawn(pipeline), before)
    assert all(leaf is old for leaf, old in zip(jax.tree.leaves(model), leaves, strict=True))  # nobody else's model
    pipeline.unload_lora_weights()
    assert all(leaf is old for leaf, old in zip(jax.tree.leaves(pipeline.model), leaves, strict=True))
    np.testing.assert_array_equal(drawn(pipeline), before)


def test_weights_choose_and_scale_adapters(pipeline, model):
    one, two = trained(1), trained(2)

    def kernel():
        return np.asarray(pipeline.model.denoiser.blocks.self_attention.key.kernel[...])

    base, path = kernel(), "blocks.self_attention.key"
    updates = [lora.scale * lora.layers[path].a @ lora.layers[path].b for lora in (one, two)]
    pipeline.load_lora_weights(one, adapter_name="one")
    pipeline.load_lora_weights(two, adapter_name="two")
    np.testing.assert_allclose(kernel(), base + updates[0] + updates[1], atol=1e-5)
    pipeline.set_adapters(["two", "one"], [0.5, -1])
    np.testing.assert_allclose(kernel(), base + 0.5 * updates[1] - updates[0], atol=1e-5)
    pipeline.set_adapters("two")
    np.testing.assert_allclose(kernel(), base + updates[1], atol=1e-5)
    pipeline.fuse_lora(0.5)
    pipeline.unload_lora_weights()
    np.testing.assert_allclose(kernel(), base + 0.5 * updates[1], atol=1e-5)
    assert pipeline.get_active_adapters() == []


def test_a_denoiser_that_is_assigned_is_the_base_from_then_on(pipeline):
    pipeline.load_lora_weights(trained())
    other = random_network(Denoiser, MODEL.denoiser, seed=5)
    pipeline.model.denoiser = other
    pipeline.set_adapters("default_0", 0.5)
    pipeline.unload_lora_weights()
    assert pipeline.model.denoiser is other


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda p: p.set_adapters("three"), "no LoRA three is loaded; loaded: one"),
        (lambda p: p.set_adapters("one", float("nan")), "weight is nan; it must be a finite number"),
        (lambda p: p.set_adapters("one", "1"), "weight is '1'; it must be a finite number"),
        (lambda p: p.set_adapters(["one"], [1, 2]), "2 weights for the LoRAs one"),
        (lambda p: p.load_lora_weights(trained(), "one"), "a LoRA 'one' already"),
        (lambda p: p.load_lora_weights(trained(config=preset("tiny_text").denoiser)), "was made for another model"),
    ],
)
def test_mistakes_are_told_and_change_nothing(pipeline, call, told):
    pipeline.load_lora_weights(trained(), "one")
    before = pipeline.model
    with pytest.raises(ConfigError, match=told):
        call(pipeline)
    assert pipeline.model is before and pipeline.get_active_adapters() == ["one"]


def arrays(**changes):
    path = "blocks.self_attention.query"
    width, layers = MODEL.denoiser.width, MODEL.denoiser.num_layers
    factors = {"lora_a": (layers, width, 2), "lora_b": (layers, 2, width)}
    return {f"{path}.{end}": np.ones(shape, np.float32) for end, shape in factors.items()} | changes


ABOUT = {"lora": json.dumps({"rank": 2, "alpha": 4.0})}
ONES = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("tensors", "about", "told"),
    [
        ({}, ABOUT, "holds no arrays"),
        ({"unet.lora_A.weight": ONES}, ABOUT, "is not a LoRA of this package .see unet.lora_A.weight"),
        ({"x.lora_a": ONES}, ABOUT, r"is not whole .see x.lora_b"),
        ({"x.lora_a": ONES, "x.lora_b": ONES}, ABOUT, "whose ranks differ"),
        ({"x.lora_a": ONES, "x.lora_b": ONES[0]}, ABOUT, "whose ranks differ"),
        (arrays(**{"y.lora_a": ONES, "y.lora_b": ONES.T}), ABOUT, r"of the ranks \[2, 3\]"),
        ({"x.lora_a": ONES[:, :0], "x.lora_b": ONES[:0]}, ABOUT, r"of the ranks \[0\]"),
        (arrays(), None, "does not tell its alpha"),
        (arrays(), {"lora": "{"}, "its header is no JSON"),
        (arrays(), {"lora": "[" * 200 + "]" * 200}, "nested more than"),
        (arrays(), {"lora": '{"alpha": 1e999}'}, "does not tell its alpha"),
        (arrays(), {"lora": '{"alpha": true}'}, "does not tell its alpha"),
        ({name: leaf * np.nan for name, leaf in arrays().items()}, ABOUT, "hold NaN or infinity"),
        ({name: leaf.astype(np.int32) for name, leaf in arrays().items()}, ABOUT, "are int32"),
    ],
)
def test_files_that_are_no_adapter_are_one_line(tmp_path, tensors, about, told):
    save_file(tensors, tmp_path / "x.safetensors", metadata=about)
    with pytest.raises(CheckpointError, match=told) as caught:
        read_lora(tmp_path / "x.safetensors")
    assert "\n" not in str(caught.value)


def test_files_that_are_no_safetensors_are_one_line(file, tmp_path):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(file.read_bytes()[:-5])
    huge = tmp_path / "huge.safetensors"
    huge.write_bytes((2**62).to_bytes(8, "little") + b"{}")
    for path, told in ((cut, "not a whole"), (huge, "its header takes"), (tmp_path / "none", "does not exist")):
        with pytest.raises(CheckpointError, match=told):
            read_lora(path)


def test_a_flag_is_a_file_and_a_weight():
    assert [divided(text) for text in ("a.st", "a.st:0.7", "a.st:-2", "C:a.st", "d:0/a.st:1e-1")] == [
        ("a.st", 1.0),
        ("a.st", 0.7),
        ("a.st", -2.0),
        ("C:a.st", 1.0),
        ("d:0/a.st", 0.1),
    ]
    assert absolute("/x/a.st:0.70") == "/x/a.st:0.70" and absolute("a.st").startswith("/")
    assert named("/x/a.st:0.70") == "a.st:0.70" and named("y/b.st") == "b.st"
    with pytest.raises(UsageError, match="must be a finite number"):
        divided("a.st:nan")


def test_the_command_line_draws_with_adapters_and_again(model, file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "model", model, None)
    write_lora(tmp_path / "two.safetensors", trained(2))
    shown = ["--class_labels=1", "--num_inference_steps=2", "--noprogress"]
    loras = ["--lora=lora.safetensors:0.5", "--lora=two.safetensors"]

    def command(*arguments: str) -> int:
        with left_as_it_was():
            return run(["main.py", *arguments])

    assert command("--checkpoint=model", *loras, *shown, "--out=out") == 0
    table = json.loads((tmp_path / "out" / "000000.json").read_text())
    assert table["lora"] == [f"{tmp_path}/lora.safetensors:0.5", f"{tmp_path}/two.safetensors"]
    assert command("--again=out/000000.png", "--noprogress", "--out=again") == 0
    assert command("--checkpoint=model", *shown, "--out=without") == 0
    pictures = [(tmp_path / name / "000000.png").read_bytes() for name in ("out", "again", "without")]
    assert pictures[0] == pictures[1] != pictures[2]
    with left_as_it_was():
        parse(["main.py", "--lora=other.safetensors"])
        take_again(tmp_path / "out" / "000000.json")
        from vqdiffusion_jax.cli.loras import FLAGS

        assert FLAGS.lora == ["other.safetensors"]  # given flags override
    write_lora(tmp_path / "other.safetensors", trained(config=preset("tiny_text").denoiser))
    capsys.readouterr()
    assert command("--checkpoint=model", "--lora=other.safetensors", *shown, "--out=refused") != 0
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and "--lora=other.safetensors: " in said[0] and not (tmp_path / "refused").exists()
