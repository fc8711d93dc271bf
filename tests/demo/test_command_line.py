import json
import socket
import sys
from types import SimpleNamespace

import pytest
from absl import flags
from absl.testing import flagsaver

from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.cli import demo, main
from vqdiffusion_jax.cli.replay import take_again
from vqdiffusion_jax.demo.job import job_of
from vqdiffusion_jax.demo.limits import Limits
from vqdiffusion_jax.sampling import STRATEGIES


@pytest.fixture
def command_line():
    main.mode_modules()
    with flagsaver.flagsaver():
        flags.FLAGS(["main.py"])
        yield flags.FLAGS


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_recipe_means_what_the_arguments_mean(command_line, tmp_path, strategy):
    pipeline = VQDiffusionPipeline(SimpleNamespace(config=preset("tiny_text")))
    form = {"prompt": "a dog", "seed": 3, "num_images_per_prompt": 2, "strategy": strategy, "calls": 5}
    job = job_of(form, pipeline, Limits(), {"checkpoint": "somewhere", "dtype": "float32"})
    (tmp_path / "again.json").write_text(json.dumps(job.recipe_of(1)))
    settings = take_again(tmp_path / "again.json")
    assert settings.prompt == ("a dog",) and (settings.num_images_per_prompt, settings.first_image) == (1, 1)
    for name in ("strategy", "guidance_scale", "truncation_rate", "seed"):
        assert getattr(settings, name) == getattr(job.settings, name), name


def test_pictures_lie_beside_the_json(command_line, tmp_path):
    recipe = {"image": "image.png", "mask_image": "/elsewhere/mask.png"}
    (tmp_path / "again.json").write_text(json.dumps(recipe))
    settings = take_again(tmp_path / "again.json")
    assert (settings.image, settings.mask_image) == (str(tmp_path / "image.png"), "/elsewhere/mask.png")


def test_only_this_machine_is_listened_to_unless_asked_otherwise(command_line):
    assert command_line.host == "127.0.0.1"


def test_without_nicegui_the_extra_is_named(command_line, monkeypatch):
    monkeypatch.setitem(sys.modules, "nicegui", None)
    monkeypatch.delitem(sys.modules, "vqdiffusion_jax.demo.page", raising=False)
    with pytest.raises(ValueError, match=r'^--mode=demo needs NiceGUI; install it with pip install -e "\.\[demo\]"$'):
        demo.main()


def test_an_address_in_use_is_said_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ValueError, match=f"--host=127.0.0.1 --port={port} cannot be listened on: .*; name another"
        ) as caught:
            demo.check_free("127.0.0.1", port)
    assert len(str(caught.value).splitlines()) == 1
    demo.check_free("127.0.0.1", port)
