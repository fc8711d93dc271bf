"""The recipe inside a picture's PNG, the line that other tools read, and the animation beside it."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.in_process import left_as_it_was
from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.cli.animation import check_format, write_animation
from vqdiffusion_jax.cli.main import parse
from vqdiffusion_jax.cli.pictures import Writer
from vqdiffusion_jax.cli.replay import take_again
from vqdiffusion_jax.errors import UsageError
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.pipeline import VQDiffusionOutput
from vqdiffusion_jax.recipe import parameters


@pytest.fixture(autouse=True)
def clean_flags():
    with left_as_it_was():
        parse(["main.py"])
        yield


def drawn(count: int, trajectory=None) -> VQDiffusionOutput:
    pictures = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    return VQDiffusionOutput(pictures, np.zeros((count, 16), np.int32), trajectory, np.arange(count))


@pytest.mark.parametrize("prompt", ["a red apple", "ein \u00c4pfel, \u05ea\u05e4\u05d5\u05d7:\n\U0001f34e"])
def test_a_png_and_its_json_are_the_same_recipe(tmp_path, prompt):
    record = {"mode": "sample", "checkpoint": "emoji", "seed": 3, "strategy": "purity", "guidance_scale": 2.5}
    made = drawn(2)
    Writer(tmp_path, 0, [{"prompt": prompt}] * 2, record, 0).add(made, None, 10)
    (tmp_path / "elsewhere").mkdir()
    moved = (tmp_path / "000001.png").rename(tmp_path / "elsewhere" / "a.png")
    found = take_again(moved)
    assert found == take_again(tmp_path / "000001.json") and found.first_image == 1 and found.prompt == (prompt,)
    with Image.open(moved) as image:
        assert image.text["vqdiffusion"] == (tmp_path / "000001.json").read_text(encoding="utf-8")
        assert image.text["parameters"].startswith(f"{prompt}\nSteps: 10, Sampler: purity, CFG scale: 2.5, Seed: 3, ")
        np.testing.assert_array_equal(np.asarray(image), made.images[1])


def test_parameters_are_those_of_other_tools():
    table = {"prompt": "a", "negative_prompt": "b", "checkpoint": "/models/x, y.pth", "strategy": "maskgit", "seed": 0}
    first, second, last = parameters(table | {"num_inference_steps": 5}, (64, 32), steps=9).splitlines()
    assert (first, second) == ("a", "Negative prompt: b")
    assert last.startswith('Steps: 5, Sampler: maskgit, Seed: 0, Size: 64x32, Model: "x, y", Version: vqdiffusion_jax')


def test_pictures_without_a_recipe_are_one_line(tmp_path):
    image = Image.new("RGB", (8, 8))
    for name, message in {
        "a.png": "this PNG carries no recipe",
        "a.jpg": "it is a JPEG, which carries no recipe",
        "a.webp": "it is a WebP",
        "a.gif": "it is a GIF",
    }.items():
        image.save(tmp_path / name)
        with pytest.raises(UsageError, match=f"--again=.*{name} cannot be read: {message}.*; give the JSON") as error:
            take_again(tmp_path / name)
        assert "\n" not in str(error.value)
    named_by_mistake = tmp_path / "recipe.png"
    named_by_mistake.write_text(json.dumps({"prompt": "a"}))
    assert take_again(named_by_mistake).prompt == ("a",)


@pytest.mark.parametrize("form", ["gif", "webp"])
def test_an_animation_shows_every_call(tmp_path, form):
    pipeline = VQDiffusionPipeline(random_network(VQDiffusionModel, preset("tiny_text")))
    trajectory = np.random.default_rng(0).integers(0, 3, (1, 7, 16)).astype(np.int32)
    Writer(tmp_path, 0, [{}], {}, 0, animation=form).add(drawn(1, trajectory), pipeline)
    with Image.open(tmp_path / f"000000.{form}") as image:
        assert image.format == form.upper() and image.n_frames == 7


def test_mp4_says_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'needs PyAV; install it with pip install -e "\.\[video\]"'):
        check_format("mp4")


def test_mp4_holds_the_last_picture(tmp_path):
    av = pytest.importorskip("av")
    pictures = np.random.default_rng(0).integers(0, 256, (3, 15, 16, 3), dtype=np.uint8)
    write_animation(tmp_path / "a.mp4", "mp4", list(pictures))
    with av.open(str(tmp_path / "a.mp4")) as file:
        assert len(list(file.decode(video=0))) == 3 + 18
