"""The flags of --mode=serve."""

import socket

import pytest
from absl import flags

from tests.in_process import left_as_it_was
from vqdiffusion_jax.cli import api, main, serve


@pytest.fixture
def command_line(monkeypatch):
    monkeypatch.delenv(serve.KEY, raising=False)
    main.mode_modules()
    with left_as_it_was():
        flags.FLAGS(["main.py"])
        yield flags.FLAGS


def test_only_this_machine_is_listened_to_unless_asked_otherwise(command_line):
    access = serve.chosen_access()
    assert access.host == "127.0.0.1" and access.admits(None, None)


def test_other_machines_are_let_in_with_a_key_alone(command_line, monkeypatch, tmp_path, capsys):
    command_line.host = "0.0.0.0"
    with pytest.raises(ValueError, match="^--host=0.0.0.0 lets other machines in; give a key by --api_key_file or"):
        serve.chosen_access()
    monkeypatch.setenv(serve.KEY, "too short")
    with pytest.raises(ValueError, match=f"the key of {serve.KEY} has 9 characters; give at least 16"):
        serve.chosen_access()
    monkeypatch.setenv(serve.KEY, "a key of the environment")
    assert serve.chosen_access().admits(None, "Bearer a key of the environment")
    warned = capsys.readouterr()
    assert len(warned.err.splitlines()) == 1 and "with the key, and nothing sent is encrypted" in warned.err
    assert "environment" not in warned.err + warned.out
    (tmp_path / "key").write_text("a key of the file itself\nmore\n")
    command_line.api_key_file = str(tmp_path / "key")
    access = serve.chosen_access()
    assert access.admits(None, "Bearer a key of the file itself")
    assert not access.admits(None, "Bearer a key of the environment") and "key of" not in repr(access)


@pytest.mark.parametrize(
    "url", ["pictures.example.org", "ftp://a", "http://", "http://[", "https://a/?b", "https://a#b"]
)
def test_addresses_that_are_none(command_line, url):
    command_line.public_url = url
    with pytest.raises(ValueError, match="^--public_url="):
        api.public_url()


def test_names_of_models_tell_no_path(tmp_path):
    assert api.name_of("emoji") == "emoji" and api.name_of("microsoft/vq-diffusion-ithq").endswith("-ithq")
    assert api.name_of(str(tmp_path / "ithq_learnable.pth")) == "ithq_learnable"


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("--port=0", "--port"),
        ("--max_batch=0", "--max_batch"),
        ("--max_batc=3", "unknown flag --max_batc; did you mean --max_batch?"),
        ("--password_file=x", "--password_file goes with --mode=demo, not serve"),
        ("--host=0.0.0.0", "--host=0.0.0.0 lets other machines in; give a key"),
        ("--public_url=here", "--public_url=here is no address"),
        ("--checkpoint=nowhere", "nowhere"),
    ],
)
def test_wrong_flags_are_told_in_one_line(command_line, argument, told, capsys):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert main.run(["main.py", "--mode=serve", f"--port={port}", argument]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and told in lines[0]
