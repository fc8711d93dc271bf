"""A file that is none, at every door of the command line: one line that names it, at once."""

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import pytest

from benchmarks._hostile_specimens import make
from tests.cli.test_help import said  # noqa: F401  (a fixture)
from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.errors import printable
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.training.denoiser import init_from
from vqdiffusion_jax.training.denoiser.state import fresh_networks

pytest.importorskip("grain")  # which defines flags of its own; the fixture would forget them if a test imported it

SECONDS = 10.0  # of processor time; at some doors a model is read first
CONFIG = """\
from vqdiffusion_jax.training.config_dict import train_config_dict


def get_config():
    data = dict(source="folder", root="{whole}/pictures", cache="")
    return train_config_dict(model="tiny_text", train_text_encoder=True, data=data, batch_size=4, steps=1)
"""
FILE = ("--checkpoint={whole}/checkpoint.pth", "--weights=model", "--prompt=a")
EVAL = ("--mode=eval", "--samples={whole}/pictures", "--out={out}")
TRAIN = ("--mode=train", "--config={whole}/train.py", "--workdir={out}")
# Each door: the arguments, with {bad} in place of the file.
DOORS = {
    "checkpoint": ("--checkpoint={bad}",),
    "mapping": (*FILE, "--mapping={bad}"),
    "codec": (*FILE, "--codec={bad}"),
    "clip": (*FILE, "--clip={bad}"),
    "reference_config": (*FILE, "--reference_config={bad}"),
    "codec_config": (*FILE, "--codec={whole}/codec.pth", "--codec_config={bad}"),
    "again": ("--again={bad}",),
    "prompts_file": ("--prompts_file={bad}",),
    "image": ("--prompt=a", "--strength=0.5", "--image={bad}"),
    "mask_image": ("--prompt=a", "--image={whole}/pictures/0.png", "--mask_image={bad}"),
    "convert": ("--mode=convert", "--checkpoint={bad}", "--out={out}"),
    "config": ("--mode=train", "--config={bad}", "--workdir={out}"),
    "init_from": (*TRAIN, "--init_from={bad}"),
    "train, codec": (*TRAIN, "--codec={bad}"),
    "data.root": (*TRAIN, "--init_from={whole}/tiny", "--config.data.root={bad}"),
    "data.cache": (*TRAIN, "--init_from={whole}/tiny", "--config.data.cache={bad}"),
    "tokenize, codec": ("--mode=tokenize", "--config={whole}/train.py", "--codec={bad}", "--out={out}"),
    "inspect, root": ("--mode=inspect", "--config={whole}/train.py", "--config.data.root={bad}", "--out={out}"),
    "inception": (*EVAL, "--metrics=fid", "--reference={whole}/statistics.npz", "--inception={bad}"),
    "reference": (*EVAL, "--metrics=fid", "--reference={bad}", "--inception={whole}/clip.pt"),
    "score_clip": (*EVAL, "--metrics=clip_score", "--score_clip={bad}", "--prompts_file={whole}/prompts.txt"),
    "judge": (*EVAL, "--metrics=following", "--judge={bad}"),
    "samples": ("--mode=eval", "--samples={bad}", "--out={out}"),
    "protocol": ("--mode=eval", "--protocol={bad}", "--out={out}"),
    "compiled": ("--prompt=a", "--compiled={bad}"),
    "report": ("--mode=step_schedule", "--report={bad}", "--num_inference_steps=4"),
}
# Folders that are written.
WRITTEN = {
    "sample": ("--prompt=a", "--out={bad}"),
    "convert": ("--mode=convert", *FILE[:2], "--out={bad}"),
    "inspect": ("--mode=inspect", "--config={whole}/train.py", "--out={bad}"),
}
# Files within a model folder.
PARTS = (
    "config.json",
    "tokenizer/merges.txt",
    "tokenizer/vocab.json",
)
WEIGHTS = ("_CHECKPOINT_METADATA", "state/_METADATA", "state/manifest.ocdbt", "state/ocdbt.process_0/manifest.ocdbt")


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        here = os.getcwd()
        try:
            os.chdir(path.parent)  # the name of a socket may be no longer than 107 bytes
            one.bind(path.name)
        finally:
            os.chdir(here)


def unreadable(path: Path) -> None:
    path.write_bytes(b"x")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root reads every file")


KINDS: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "socket": unix_socket,
    "folder": Path.mkdir,
    "loop": lambda path: path.symlink_to(path.name),
    "missing": lambda path: None,
    "empty": Path.touch,
    "unreadable": unreadable,
    "undecodable": lambda path: path.write_bytes(b"\xff\xfe"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files") / "whole"
    make(folder)
    VQDiffusionPipeline(random_network(VQDiffusionModel, preset("tiny_text"))).save_pretrained(folder / "tiny")
    (folder / "train.py").write_text(CONFIG.format(whole=folder))
    (folder / "prompts.txt").write_text("a cat\n")
    return folder


@pytest.fixture(scope="module", autouse=True)
def quick_to_begin():
    """Training begins with zeros, since making random weights would be most of what a case costs."""
    shapes = {}

    def zeros(config):
        if repr(config) not in shapes:
            shapes[repr(config)] = jax.eval_shape(lambda: fresh_networks(config))
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes[repr(config)])

    with mock.patch.object(init_from, "fresh_networks", zeros):
        yield


def place(folder: Path, kind: str, ending: str) -> Path:
    """Return a path of that kind."""
    path = folder / os.fsdecode(b"\xff\xfe" + ending.encode() if kind == "undecodable" else b"bad" + ending.encode())
    KINDS[kind](path)
    return path


def refused(said, *arguments: str) -> str:  # noqa: F811
    """Run the command, which must end soon in one printable line, and return it."""

    def waits(*_):
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, waits)
    signal.alarm(60)
    begun = time.process_time()
    try:
        status, out, err = said(*arguments)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    taken = time.process_time() - begun
    assert status == 1, out + err
    lines = err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and lines[0].isprintable(), err
    assert "please report" not in err and len(err) < 1000, err
    assert taken < SECONDS, taken
    return lines[0]


ENDINGS = {"again": ".json", "protocol": ".json", "config": ".py", "image": ".png", "mask_image": ".png"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("door", DOORS)
def test_what_is_no_file_is_one_line(door, kind, whole, tmp_path, said):  # noqa: F811
    bad = place(tmp_path, kind, ENDINGS.get(door, ".pth"))
    line = refused(said, *(text.format(whole=whole, bad=bad, out=tmp_path / "out") for text in DOORS[door]))
    assert printable(str(bad)) in line


@pytest.mark.parametrize("arguments", [("--flagfile={bad}",), ("-flagfile", "{bad}")])
def test_no_file_of_flags_is_read(arguments, tmp_path, said):  # noqa: F811
    bad = place(tmp_path, "pipe", "")
    assert "--flagfile is not taken" in refused(said, *(text.format(bad=bad) for text in arguments))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", PARTS)
def test_what_is_no_file_within_a_model_folder_is_one_line(part, kind, whole, tmp_path, said):  # noqa: F811
    folder = tmp_path / "model"
    shutil.copytree(whole / "model", folder)
    (folder / part).unlink()
    KINDS[kind](folder / part)
    line = refused(said, f"--checkpoint={folder}", "--prompt=a", f"--out={tmp_path / 'out'}")
    assert str(folder) in line


@pytest.mark.parametrize("kind", ["pipe", "endless", "socket", "loop"])
@pytest.mark.parametrize("part", WEIGHTS)
def test_what_is_no_file_among_weights_is_one_line(part, kind, whole, tmp_path, said):  # noqa: F811
    folder = tmp_path / "model"
    shutil.copytree(whole / "model", folder)
    file = folder / "weights" / part
    file.unlink()
    KINDS[kind](file)
    line = refused(said, f"--checkpoint={folder}", "--prompt=a", f"--out={tmp_path / 'out'}")
    assert str(file) in line


@pytest.mark.parametrize("kind", ["pipe", "endless", "socket", "loop", "empty"])
@pytest.mark.parametrize("door", WRITTEN)
def test_what_is_no_folder_is_not_written_to(door, kind, whole, tmp_path, said):  # noqa: F811
    bad = place(tmp_path, kind, "")
    line = refused(said, *(text.format(whole=whole, bad=bad) for text in WRITTEN[door]))
    assert str(bad) in line
    assert os.path.lexists(bad) and not list(tmp_path.glob(".*"))
