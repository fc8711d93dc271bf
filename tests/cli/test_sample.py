"""``--mode=sample`` plans a file and settles a call once, before it reads the weights."""

import sys
from pkgutil import resolve_name

import numpy as np
import pytest
from PIL import Image

from tests.in_process import left_as_it_was
from tests.interop.files import model_config, perturbed, save, tensors_of
from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.cli import run
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.text.known_words import KnownWords

SETTINGS = {"num_inference_steps": 2, "guidance_scale": 2.0, "num_images_per_prompt": 2, "first_image": 1, "seed": 3}
FLAGS = (
    "--num_inference_steps=2",
    "--guidance_scale=2",
    "--num_images_per_prompt=2",
    "--first_image=1",
    "--seed=3",
    "--noprogress",
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Return a text model as the reference saves it, and its companion."""
    folder = tmp_path_factory.mktemp("checkpoint")
    model = perturbed(random_network(VQDiffusionModel, model_config("text", num_layers=1)))
    tensors = tensors_of(model)
    averaged = {
        name.removeprefix("transformer."): value for name, value in tensors.items() if name.startswith("transformer.")
    }
    mapping = save(folder / "mapping.pt", np.asarray(model.codec.full_to_reduced[...]).astype(np.int64))
    return save(folder / "model.pth", {"model": tensors, "ema": averaged}), mapping


def counted(monkeypatch, place: str) -> list:
    """Return a list that grows with every call of the function at ``place``."""
    function, calls = resolve_name(place), []
    monkeypatch.setattr(place, lambda *args, **options: calls.append(args) or function(*args, **options))
    return calls


def test_a_file_is_planned_and_a_call_settled_once(checkpoint, tmp_path, monkeypatch):
    path, mapping = checkpoint
    command = ["main.py", f"--checkpoint={path}", f"--mapping={mapping}", "--prompt=a dog", *FLAGS, f"--out={tmp_path}"]
    monkeypatch.setattr(sys, "argv", command)
    counts = [
        counted(monkeypatch, f"vqdiffusion_jax.{name}") for name in ("interop.load.plan_reference", "call.settle")
    ]
    with left_as_it_was():
        assert run(command) == 0
    assert [len(calls) for calls in counts] == [1, 1]
    drawn = VQDiffusionPipeline.from_pretrained(path, mapping=mapping)("a dog", output_type="uint8", **SETTINGS).images
    for number, picture in enumerate(drawn):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"{number:06d}.png")), picture)


def test_words_that_the_model_was_not_taught_are_told_and_no_error(tmp_path, capsys):
    words = KnownWords(("car",), frozenset({"a"}), {"auto": "car"})
    VQDiffusionPipeline(random_network(VQDiffusionModel, preset("tiny_text")), known_words=words).save_pretrained(
        tmp_path / "model"
    )
    command = ["main.py", f"--checkpoint={tmp_path / 'model'}", "--prompt=an auto", "--prompt=a car", "--dry_run"]
    with left_as_it_was():
        assert run(command) == 0
    said = capsys.readouterr()
    assert [line for line in said.err.splitlines() if "taught" in line] == [f"warning: {words.told('an auto')}"]
    assert "network calls" in said.out and "taught" not in said.out


def test_flags_of_guidance_without_guidance_are_told(checkpoint, capsys):
    model, mapping = checkpoint
    flags = ["--guidance_scale=1", "--guidance_interval=0,3", "--prompt=a", "--dry_run"]
    with left_as_it_was():
        assert run(["main.py", f"--checkpoint={model}", f"--mapping={mapping}", *flags]) == 0
    told = (
        "warning: --guidance_interval changes nothing, as --guidance_scale is 1, which is no guidance; give more than 1"
    )
    assert told in capsys.readouterr().err.splitlines()


def test_a_mask_that_paints_nothing_is_told(checkpoint, tmp_path, capsys):
    model, mapping = checkpoint
    for name, grey in (("image", 255), ("mask", 100)):
        Image.new("L", (32, 32), grey).save(tmp_path / f"{name}.png")
    flags = [f"--image={tmp_path / 'image.png'}", f"--mask_image={tmp_path / 'mask.png'}", "--prompt=a", "--dry_run"]
    with left_as_it_was():
        assert run(["main.py", f"--checkpoint={model}", f"--mapping={mapping}", *flags]) == 0
    told = "warning: --mask_image paints nothing, so that --image comes back as it is; painted is what is lighter"
    assert sum(line.startswith(told) for line in capsys.readouterr().err.splitlines()) == 1
