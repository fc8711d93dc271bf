"""``--mode=tokenize`` from the command line, and training's loader on what it wrote."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data import layouts
from tests.in_process import left_as_it_was
from tests.networks import random_network
from tests.processes import free_address
from vqdiffusion_jax import preset
from vqdiffusion_jax.cli import run
from vqdiffusion_jax.data import make_loader
from vqdiffusion_jax.data.token_cache import codec_fingerprint
from vqdiffusion_jax.loading import write_folder
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel

REPO = Path(__file__).resolve().parents[2]
CONFIG = """\
from ml_collections import ConfigDict

def get_config():
    data = dict(source="folder", root="{root}", options=dict(), validation_fraction=0.3, cache="")
    return ConfigDict(dict(model="tiny_text", batch_size=2, steps=1, workers=0, data=data))
"""


MODEL = preset("tiny_text")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model, pictures and their configuration."""
    place = tmp_path_factory.mktemp("tokenize")
    write_folder(place / "model", random_network(VQDiffusionModel, MODEL), None)
    (place / "config.py").write_text(CONFIG.format(root=layouts.folder(place / "pictures", 12)))
    return place


def start(place, *more: object) -> subprocess.Popen:
    command = [
        sys.executable,
        "main.py",
        "--mode=tokenize",
        f"--config={place / 'config.py'}",
        "--shard_size=2",
        *map(str, more),
    ]
    return subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen) -> str:
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return said


@pytest.fixture(scope="module")
def alone(place):
    """Return the output of one process that writes the cache ``alone``."""
    return ended(start(place, f"--checkpoint={place / 'model'}", f"--out={place / 'alone'}"))


def test_tokenize(place, alone):
    lines = alone.splitlines()
    assert [line.split(":")[0] for line in lines] == ["written", "written"] and all(
        "0 broken" in line for line in lines
    )
    codec = random_network(VQDiffusionModel, MODEL).codec
    options = {"batch_size": 1, "codec_fingerprint": codec_fingerprint(codec)}
    config = {"cache": str(place / "alone")}
    assert (
        sum(make_loader(config, MODEL, split=split, **options).num_examples for split in ("train", "validation")) == 12
    )


def test_a_finished_cache_is_said_to_be_complete(place, alone, monkeypatch, capsys):
    arguments = [f"--config={place / 'config.py'}", f"--checkpoint={place / 'model'}", f"--out={place / 'alone'}"]
    monkeypatch.setattr(sys, "argv", ["main.py", "--mode=tokenize", "--shard_size=2", *arguments])
    with left_as_it_was():
        assert run(sys.argv) == 0
    counts = [re.findall(r"(\d+) shards, (\d+) examples", line)[0] for line in alone.splitlines()]
    assert capsys.readouterr().out.splitlines() == [
        f"complete already: {place / 'alone' / split}: {shards} shards, {examples} examples; nothing was left to do"
        for split, (shards, examples) in zip(("train", "validation"), counts, strict=True)
    ]


def test_no_codec(place):
    refused = start(place, f"--out={place / 'nothing'}")
    _, errors = refused.communicate(timeout=300)
    assert refused.returncode == 1 and errors.splitlines()[-1].startswith(
        "error: a codec is needed: --checkpoint=MODEL"
    )


def test_two_processes_share(place, alone):
    joined = [f"--coordinator={free_address()}", "--num_processes=2"]
    given = [f"--checkpoint={place / 'model'}", f"--out={place / 'shared'}", *joined]
    both = [start(place, *given, f"--process_id={index}") for index in range(2)]
    counts = [[int(number) for number in re.findall(r"(\d+) shards", said)] for said in [alone, *map(ended, both)]]
    assert [one + other for one, other in zip(*counts[1:], strict=True)] == counts[0]
    assert all(train > 0 for train, _ in counts[1:])
    folders = (place / "alone", place / "shared")
    one, two = ({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")} for folder in folders)
    assert one == two
