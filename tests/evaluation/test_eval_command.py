"""``--mode=eval`` as a person types it, in processes of its own."""

import json
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


def run(*flags):
    return subprocess.run([sys.executable, str(REPO / "main.py"), "--mode=eval", *map(str, flags)], capture_output=True, text=True)


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


def test_everything_that_needs_no_network(folders, tmp_path):
    flags = [f"--checkpoint={folders / 'model'}", f"--data_root={folders / 'pictures'}", f"--out={tmp_path}", "--noprogress", "--chunk=2",
             "--set=num_samples=3", "--set=steps=2", "--what=samples", "--what=likelihood", "--what=reconstruction"]  # fmt: skip
    done = run(*flags)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["scores"].keys() == {"psnr", "ssim", "codes_used", "code_perplexity", "bits_per_token", "bits_per_token_error"}
    assert report["about"]["samples"] == 3 and report["about"]["likelihood"] == 5 and report["protocol"]["num_samples"] == 3
    assert "SSIM of reconstructions" in done.stdout and "samples: " in done.stdout
    assert json.loads((tmp_path / "speed.json").read_text())["pictures_per_second"]["reconstruction"] > 0


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
