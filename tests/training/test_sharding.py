"""Eight simulated devices against one, and checkpoints that move between them."""

import numpy as np
import pytest

from tests.processes import run_on_devices

SCRIPT = """
import sys
import jax
import numpy as np
jax.config.update("jax_compilation_cache_dir", sys.argv[2])
from tests.training.toy import ToyLoader, make_batch, make_config, make_frozen
from vqdiffusion_jax.sharding import make_mesh, shard
from vqdiffusion_jax.training.batch import place_batch
from vqdiffusion_jax.training.config import CheckpointConfig
from vqdiffusion_jax.training.denoiser.init_from import Pretrained
from vqdiffusion_jax.training.loop import train
from vqdiffusion_jax.training.denoiser.state import create_state
from vqdiffusion_jax.training.denoiser.step import make_step
from vqdiffusion_jax.training.denoiser.task import DenoiserTask

assert jax.device_count() == 8
config = make_config("text", accumulation=1)
losses = {}
for sizes in [(1, 1, 1), (8, 1, 1), (1, 8, 1), (1, 1, 8), (2, 2, 2)]:
    mesh = make_mesh(*sizes, devices=jax.devices()[: np.prod(sizes)])
    step, state, frozen = make_step(config, mesh), create_state(config, mesh), shard(make_frozen(config), mesh)
    if sizes == (1, 8, 1):
        kernel = state.optimizer[1].mu.denoiser.blocks.mlp.up.kernel[...]
        assert kernel.addressable_shards[0].data.size * 8 == kernel.size, "moments are not split"
    found = []
    for number in range(20):
        state, metrics = step(state, place_batch(make_batch(config, number), mesh), frozen)
        found.append(float(metrics["loss"]))
    losses["x".join(map(str, sizes))] = found

# A run that goes on with fewer and fewer devices.
changes = {"steps": 6, "checkpoint": CheckpointConfig(every=2)}
for steps, sizes in [(2, (2, 4, 1)), (4, (1, 2, 2)), (6, (1, 1, 1))]:
    config = make_config("none", **(changes | {"steps": steps}))
    lines = []
    mesh = make_mesh(*sizes, devices=jax.devices()[: np.prod(sizes)])
    outcome = train(DenoiserTask(config, Pretrained(), mesh), sys.argv[1] + "/run", ToyLoader(config), log=lines.append)
    assert steps == 2 or f"resuming from checkpoint {steps - 2}" in lines[0], lines
losses["moved"] = [float(np.linalg.norm(np.asarray(outcome.state.ema.denoiser.logits.kernel[...])))]
config = make_config("none", **changes)
task = DenoiserTask(config, Pretrained(), make_mesh(devices=jax.devices()[:1]))
whole = train(task, sys.argv[1] + "/whole", ToyLoader(config), log=lines.append)
losses["stayed"] = [float(np.linalg.norm(np.asarray(whole.state.ema.denoiser.logits.kernel[...])))]
np.savez(sys.argv[1] + "/losses.npz", **losses)
"""


@pytest.mark.slow
def test_meshes_agree_and_checkpoints_move(tmp_path, compilation_cache):
    done = run_on_devices(8, "-c", SCRIPT, tmp_path, compilation_cache)
    assert done.returncode == 0, done.stderr[-3000:]
    losses = np.load(tmp_path / "losses.npz")
    for sizes in ("8x1x1", "1x8x1", "1x1x8", "2x2x2"):
        np.testing.assert_allclose(losses[sizes], losses["1x1x1"], rtol=1e-5, err_msg=sizes)
    np.testing.assert_allclose(losses["moved"], losses["stayed"], rtol=1e-5)
