"""Two processes over localhost train and save; one process goes on."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.processes import free_address
from vqdiffusion_jax import VQDiffusionPipeline

REPO = Path(__file__).resolve().parents[2]

SCRIPT = """
import sys
import jax
folder, cache, coordinator, count, index, steps = *sys.argv[1:4], *map(int, sys.argv[4:])
jax.config.update("jax_compilation_cache_dir", cache)
if count > 1:
    from jax.experimental.multihost_utils import sync_global_devices
    jax.distributed.initialize(coordinator, count, index)
    sync_global_devices("all are here")  # as join_processes does
import numpy as np
from tests.training.toy import ToyLoader, make_config, make_model
from vqdiffusion_jax.sharding import make_mesh
from vqdiffusion_jax.training.config import CheckpointConfig, WatchConfig
from vqdiffusion_jax.training.denoiser.init_from import Pretrained
from vqdiffusion_jax.training.denoiser.task import DenoiserTask
from vqdiffusion_jax.training.loop import train

watch = WatchConfig(eval_every=4, eval_batches=1, sample_every=4, prompts=("a dog", "a cat"), num_samples=2)
config = make_config("text", steps=steps, checkpoint=CheckpointConfig(every=2), watch=watch)
model = make_model(config)
task = DenoiserTask(config, Pretrained(codec=model.codec, text_encoder=model.text_encoder), make_mesh(1, count, 1))
loader = ToyLoader(config, process=(index, count))
outcome = train(task, folder, loader, validation=loader)
if count == 1:
    np.save(folder + "/kernel.npy", np.asarray(outcome.state.trained.denoiser.logits.kernel[...]))
print("ended", outcome.step, flush=True)
"""


# One process fails while the other waits for something that will never come.
FAILING = """
import sys, time
from absl import flags
from vqdiffusion_jax.cli.processes import fail_together, join_processes

coordinator, count, index = sys.argv[1:]
flags.FLAGS(["test", f"--coordinator={coordinator}", f"--num_processes={count}", f"--process_id={index}"])

def run():
    join_processes()
    time.sleep(600 if index == "0" else 1)
    return 3

sys.exit(fail_together(run))
"""


# Process 1 cannot read two checkpoints, which process 0 can: it fails before it begins, and when it is nearly done.
AGREEING = """
import sys
import jax
folder, address, index = sys.argv[1], sys.argv[2], int(sys.argv[3])
jax.distributed.initialize(address, 2, index)
from jax.experimental.multihost_utils import sync_global_devices
sync_global_devices("all are here")
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from vqdiffusion_jax import checkpoint

sharding = NamedSharding(jax.make_mesh((2,), ("data",)), PartitionSpec("data"))

def state(number):
    return {"kernel": jax.make_array_from_callback((4,), sharding, lambda where: np.full(4, number, np.float32)[where])}

checkpoints = checkpoint.TrainingCheckpoints(folder, keep_last=3)
for step in (1, 2, 3):
    checkpoints.save(step, state(step), {"taken": step})
checkpoints.wait()
ocp = checkpoint._orbax()

def failing(place, wanted, load=ocp.load_checkpointables):
    found = None if place.name == "3" else load(place, wanted)
    if place.name != "1":
        raise OSError(5, "Input/output error")
    return found

if index == 1:
    ocp.load_checkpointables = failing
abstract = {"kernel": jax.ShapeDtypeStruct((4,), np.float32, sharding=sharding)}
step, found, position, unreadable = checkpoints.restore(abstract)
print("read", step, found["kernel"].addressable_data(0).tolist(), position, list(unreadable.values()))
print("aside", [place.name for place in checkpoints.put_aside(unreadable)], checkpoints.steps())
checkpoints.save(2, state(2), {"taken": 2})  # where orbax has them wait for each other
checkpoints.close()
print("saved", checkpoints.steps(), flush=True)
"""


def python(script: str, *given: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, given)],
        cwd=REPO,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPO), "JAX_PLATFORMS": "cpu"},
    )


@pytest.mark.slow
def test_none_waits_for_one_that_failed():
    address = free_address()
    both = [python(FAILING, address, 2, index) for index in range(2)]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [1, 3], said
    assert "error: process 1 of this run failed and says why; process 0 ends with it" in said[0]


def test_processes_go_back_together(tmp_path):
    address = free_address()
    both = [python(AGREEING, tmp_path / "checkpoints", address, index) for index in range(2)]
    said = [process.communicate(timeout=120)[0] for process in both]
    why = [
        f"checkpoint {step} in {tmp_path}/checkpoints cannot be read by process 1: [Errno 5] Input/output error"
        for step in (3, 2)
    ]
    for index, lines in enumerate(said):
        assert f"read 1 [1.0, 1.0] {{'taken': 1}} {why}" in lines, lines
        assert f"aside {[] if index else ['unreadable-2', 'unreadable-3']} [1]" in lines, lines
        assert "saved [1, 2]" in lines, lines


@pytest.mark.slow
def test_two_processes_then_one(tmp_path, compilation_cache):
    address = free_address()

    def start(folder, count, index, steps):
        return python(SCRIPT, folder, compilation_cache, address, count, index, steps)

    both = [start(tmp_path / "moved", 2, index, 4) for index in range(2)]
    for process in both:
        output, _ = process.communicate(timeout=500)
        assert "ended 4" in output, output[-3000:]
    made_by_two = tmp_path / "moved" / "model"
    pipeline = VQDiffusionPipeline.from_pretrained(made_by_two)
    alone = pipeline(["a dog", "a cat"], num_images_per_prompt=2, output_type="uint8", batch_size=4).images
    rows = [np.concatenate(list(alone[first : first + 2]), axis=1) for first in (0, 2)]
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "moved" / "samples" / "00000004.png")), np.concatenate(rows)
    )
    assert not list((tmp_path / "moved").glob(".*"))
    for folder in ("moved", "stayed"):
        output, _ = start(tmp_path / folder, 1, 0, 6).communicate(timeout=500)
        assert "ended 6" in output, output[-3000:]
        assert ("resuming from checkpoint 4" in output) == (folder == "moved")
    moved, stayed = (np.load(tmp_path / folder / "kernel.npy") for folder in ("moved", "stayed"))
    np.testing.assert_allclose(moved, stayed, rtol=1e-4, atol=1e-5)
