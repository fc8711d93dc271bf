import json
import socket
import sys
from types import SimpleNamespace

import pytest
from absl import flags

from tests.in_process import left_as_it_was
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.cli import demo, main
from vqdiffusion_jax.cli.replay import take_again
from vqdiffusion_jax.demo.job import job_of
from vqdiffusion_jax.demo.limits import Limits
from vqdiffusion_jax.sampling import STRATEGIES


@pytest.fixture
def command_line():
    main.mode_modules()
    with left_as_it_was():
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


def test_other_machines_are_let_in_with_a_password_alone(command_line, monkeypatch, tmp_path, capsys):
    command_line.host = "0.0.0.0"
    with pytest.raises(ValueError, match="^--host=0.0.0.0 lets other machines in; give a password by --password_file"):
        demo.chosen_access()
    monkeypatch.setenv(demo.PASSWORD, "a long password")
    access = demo.chosen_access()
    assert access.is_password("a long password")
    warned = capsys.readouterr()
    assert len(warned.err.splitlines()) == 1 and warned.err.startswith("warning: --host=0.0.0.0 lets other machines")
    assert "a long password" not in warned.err + warned.out
    (tmp_path / "password").write_text("another one\nand more\n")
    command_line.password_file = str(tmp_path / "password")
    assert demo.chosen_access().is_password("another one")


def test_other_machines_are_let_in_openly_if_asked(command_line, monkeypatch, capsys):
    command_line.host, command_line.open_to_all = "0.0.0.0", True
    assert demo.chosen_access().password is None
    assert "draw without a password" in capsys.readouterr().err
    monkeypatch.setenv(demo.PASSWORD, "a long password")
    with pytest.raises(ValueError, match="--open_to_all and a password are both given"):
        demo.chosen_access()


def test_a_password_is_not_short(command_line, monkeypatch, tmp_path):
    monkeypatch.setenv(demo.PASSWORD, "secret")
    with pytest.raises(
        ValueError, match=f"the password of {demo.PASSWORD} has 6 characters; give at least 8"
    ) as caught:
        demo.chosen_access()
    assert "secret" not in str(caught.value)
    (tmp_path / "password").write_text("\n")
    command_line.password_file = str(tmp_path / "password")
    with pytest.raises(ValueError, match="--password_file=.* has 0 characters"):
        demo.chosen_access()


def test_on_this_machine_nothing_is_asked(command_line, capsys):
    assert demo.chosen_access().password is None and not capsys.readouterr().err


def test_without_nicegui_the_extra_is_named(command_line, monkeypatch):
    monkeypatch.setitem(sys.modules, "nicegui", None)
    monkeypatch.delitem(sys.modules, "vqdiffusion_jax.demo.page", raising=False)
    with pytest.raises(
        ValueError, match=r'^--mode=demo needs nicegui; install it with pip install "vqdiffusion-jax\[demo\]"$'
    ):
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
