"""``--mode=eval`` as a person types it, in processes of its own."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel

REPO = Path(__file__).resolve().parents[2]


def start(*flags):
    command = [sys.executable, str(REPO / "main.py"), "--mode=eval", *map(str, flags)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(*flags):
    process = start(*flags)
    said, wrong = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, said, wrong)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A tiny unconditional model, and pictures."""
    root, rng = tmp_path_factory.mktemp("eval"), np.random.default_rng(0)
    model = random_network(VQDiffusionModel, preset("tiny_unconditional"))
    VQDiffusionPipeline(model).save_pretrained(root / "model")
    (root / "pictures").mkdir()
    for number in range(5):
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(root / "pictures" / f"{number}.png")
    return root


def whole_evaluation(folders, out):
    return [f"--checkpoint={folders / 'model'}", f"--data_root={folders / 'pictures'}", f"--out={out}", "--noprogress", "--chunk=2",
            "--set=num_samples=3", "--set=steps=2", "--what=samples", "--what=likelihood", "--what=reconstruction"]  # fmt: skip


def test_everything_that_needs_no_network(folders, tmp_path):
    done = run(*whole_evaluation(folders, tmp_path))
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["scores"].keys() == {"psnr", "ssim", "codes_used", "code_perplexity", "bits_per_token", "bits_per_token_error"}
    assert report["about"]["samples"] == 3 and report["about"]["likelihood"] == 5 and report["protocol"]["num_samples"] == 3
    assert "SSIM of reconstructions" in done.stdout and "samples: " in done.stdout
    assert json.loads((tmp_path / "speed.json").read_text())["pictures_per_second"]["reconstruction"] > 0


def test_two_processes_report_what_one_does(folders, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"--coordinator=localhost:{free.getsockname()[1]}"
    flags = [*whole_evaluation(folders, tmp_path / "two"), coordinator, "--num_processes=2"]
    both = [start(*flags, f"--process_id={index}") for index in range(2)]
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert "samples: " in said[0][0] and "samples: " not in said[1][0]  # one of them reports
    done = run(*whole_evaluation(folders, tmp_path / "one"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "two" / "report.json").read_bytes() == (tmp_path / "one" / "report.json").read_bytes()
    chunks = {path.relative_to(tmp_path / "two") for path in (tmp_path / "two").rglob("chunk-*.npz")}
    assert chunks == {path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("chunk-*.npz")}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--protocol=coco"], "unknown protocol 'coco'; did you mean 'coco30k'?"),
        (["--inception=absent.pth", "--checkpoint=m"], "the file is pt_inception-2015-12-05-6726825d.pth"),
    ],
)
def test_mistakes_are_one_line(flags, message, tmp_path):
    done = run(*flags, f"--out={tmp_path}")
    assert done.returncode == 1 and message in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
