"""``--mode=sample`` in two processes, as a person starts them."""

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags
from PIL import Image

from tests.in_process import left_as_it_was
from tests.networks import random_network
from tests.processes import free_address
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.cli import processes, run
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel

REPO = Path(__file__).resolve().parents[2]


def start(*flags: object) -> subprocess.Popen:
    command = [sys.executable, str(REPO / "main.py"), "--mode=sample", *map(str, flags)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_each_process_draws_its_own_of_the_pictures_of_one(tmp_path):
    VQDiffusionPipeline(random_network(VQDiffusionModel, preset("tiny_unconditional"))).save_pretrained(
        tmp_path / "model"
    )
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(
        tmp_path / "picture.png"
    )
    flags = [
        f"--checkpoint={tmp_path / 'model'}",
        "--num_images_per_prompt=3",
        f"--image={tmp_path / 'picture.png'}",
        "--strength=0.9",
    ]
    coordinator = f"--coordinator={free_address()}"
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "000004.png").write_bytes(b"drawn before")
    together = [*flags, f"--out={tmp_path / 'two'}", "--num_processes=2", coordinator]
    both = [start(*together, f"--process_id={index}") for index in range(2)]
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    alone = start(*flags, f"--out={tmp_path / 'one'}")
    assert "written: 3 of 3 pictures" in alone.communicate(timeout=300)[0]

    # Batches of two, one picture a process.
    assert (
        "written: 2 of 3 pictures, 000005 to 000007" in said[0][0]
        and "written: 1 of 3 pictures, 000006, in" in said[1][0]
    )
    names = {f"{number:06d}.{end}" for number in (5, 6, 7) for end in ("png", "json")}
    assert {path.name for path in (tmp_path / "two").iterdir()} == names | {"000004.png"}
    for number in range(3):
        ours, theirs = (
            np.asarray(Image.open(tmp_path / name)) for name in (f"two/{number + 5:06d}.png", f"one/{number:06d}.png")
        )
        np.testing.assert_array_equal(ours, theirs)
    assert '"mesh"' not in (tmp_path / "two" / "000005.json").read_text()  # which one process could not make again


def test_a_trajectory_needs_the_pictures_of_one_process(monkeypatch, tmp_path, capsys):
    command = ["main.py", f"--out={tmp_path / 'out'}", "--return_trajectory", "--checkpoint=nowhere"]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with left_as_it_was():
        assert run(command) == 1
    said = (
        "error: --return_trajectory goes with one process; leave it out, or leave out --distributed and --coordinator\n"
    )
    assert capsys.readouterr().err == said


def test_where_jax_keeps_its_keys_elsewhere_each_process_ends_alone(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jax._src.distributed", None)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_: None)
    monkeypatch.setattr("jax.experimental.multihost_utils.sync_global_devices", lambda _: None)
    with left_as_it_was():
        flags.FLAGS(["test", "--coordinator=localhost:1", "--num_processes=2", "--process_id=0"])
        processes.join_processes()
    said = capsys.readouterr().err
    assert said.startswith(f"warning: JAX {jax.__version__} ") and len(said.splitlines()) == 1
    assert processes.fail_together(lambda: 3) == 3
    with pytest.raises(ValueError, match="as if alone"):
        processes.fail_together(failing)


def failing():
    raise ValueError("as if alone")
