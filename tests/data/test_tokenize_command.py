"""``--mode=tokenize`` from the command line, and training's loader on what it wrote."""

import subprocess
import sys
from pathlib import Path

from tests.data import layouts
from tests.networks import random_network
from vqdiffusion_jax import preset
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


def test_tokenize(tmp_path):
    model = random_network(VQDiffusionModel, preset("tiny_text"))
    write_folder(tmp_path / "model", model, None)
    root = layouts.folder(tmp_path / "pictures", 12)
    (tmp_path / "config.py").write_text(CONFIG.format(root=root))
    command = [sys.executable, "main.py", "--mode=tokenize", f"--config={tmp_path / 'config.py'}", f"--out={tmp_path / 'cache'}"]
    done = subprocess.run([*command, f"--checkpoint={tmp_path / 'model'}"], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["written", "written"] and all("0 broken" in line for line in lines)
    options = {"batch_size": 1, "codec_fingerprint": codec_fingerprint(model.codec)}
    config = {"cache": str(tmp_path / "cache")}
    assert sum(make_loader(config, model.config, split=split, **options).num_examples for split in ("train", "validation")) == 12
    refused = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert refused.returncode == 1 and refused.stderr.splitlines()[-1].startswith("error: a codec is needed: --checkpoint=MODEL")
