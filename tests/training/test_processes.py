"""Two processes over localhost train and save; one process goes on."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

REPO = Path(__file__).resolve().parents[2]

SCRIPT = """
import sys
import jax
folder, cache, coordinator, count, index, steps = *sys.argv[1:4], *map(int, sys.argv[4:])
jax.config.update("jax_compilation_cache_dir", cache)
if count > 1:
    jax.distributed.initialize(coordinator, count, index)
import numpy as np
from tests.training.toy import ToyLoader, make_config
from vqdiffusion_jax.sharding import make_mesh
from vqdiffusion_jax.training.config import CheckpointConfig
from vqdiffusion_jax.training.denoiser.initial import Parts
from vqdiffusion_jax.training.denoiser.task import DenoiserTask
from vqdiffusion_jax.training.loop import train

config = make_config("none", steps=steps, checkpoint=CheckpointConfig(every=2))
task = DenoiserTask(config, Parts(), make_mesh(1, count, 1))
outcome = train(task, folder, ToyLoader(config, process=(index, count)))
if count == 1:
    np.save(folder + "/kernel.npy", np.asarray(outcome.state.trained.denoiser.logits.kernel[...]))
print("ended", outcome.step, flush=True)
"""


@pytest.mark.slow
def test_two_processes_then_one(tmp_path, compilation_cache):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    environment = {**os.environ, "PYTHONPATH": str(REPO), "JAX_PLATFORMS": "cpu"}

    def start(folder, count, index, steps):
        given = [str(folder), str(compilation_cache), coordinator, str(count), str(index), str(steps)]
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *given], cwd=REPO, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    both = [start(tmp_path / "moved", 2, index, 4) for index in range(2)]
    for process in both:
        output, _ = process.communicate(timeout=500)
        assert "ended 4" in output, output[-3000:]
    for folder in ("moved", "stayed"):
        output, _ = start(tmp_path / folder, 1, 0, 6).communicate(timeout=500)
        assert "ended 6" in output, output[-3000:]
        assert ("resuming from checkpoint 4" in output) == (folder == "moved")
    moved, stayed = (np.load(tmp_path / folder / "kernel.npy") for folder in ("moved", "stayed"))
    np.testing.assert_allclose(moved, stayed, rtol=1e-4, atol=1e-5)
