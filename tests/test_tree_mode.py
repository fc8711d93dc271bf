"""The whole path once more in a process where NNX modules may be trees only and a deprecation is an error."""

import os
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]

SCRIPT = """
import sys
import jax, jax.numpy as jnp, numpy as np
from flax import nnx
from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.diffusion import loss_terms, make_schedule, predict_start
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel

jax.config.update("jax_enable_x64", False)
SUBJECTS = {"tiny_text": {"prompt": "a dog"}, "tiny_class": {"class_labels": 1}, "tiny_unconditional": {}}
for name, subject in SUBJECTS.items():
    pipeline = VQDiffusionPipeline(random_network(VQDiffusionModel, preset(name)))
    images = pipeline(**subject, output_type="uint8").images
    assert images.shape == (1, 16, 16, 3), images.shape
    assert pipeline.encode(images).shape == (1, 16)

schedule = make_schedule(pipeline.config.schedule)
tokens, t = jnp.zeros((2, 16), jnp.int32), jnp.array([3, 0])

def loss(denoiser):
    log_x0 = predict_start(denoiser(tokens, t))
    jumps, objective = schedule.one_step_jumps(), pipeline.config.objective
    return loss_terms(log_x0, tokens, tokens, t, jnp.full(2, 0.1), jumps, objective).loss

gradient = jax.jit(jax.grad(loss))(pipeline.model.denoiser)
assert all(bool(jnp.isfinite(leaf).all()) and leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(gradient))
folder = sys.argv[1]
pipeline.save_pretrained(folder)
again = VQDiffusionPipeline.from_pretrained(folder)
np.testing.assert_array_equal(again(output_type="uint8").images, images)
"""


def test_tree_mode_without_deprecated_calls(tmp_path):
    environment = os.environ | {"NNX_GRAPH_MODE": "false", "JAX_ENABLE_X64": "0", "PYTHONPATH": str(REPO)}
    command = [sys.executable, "-W", "error::DeprecationWarning", "-c", SCRIPT, str(tmp_path / "model")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
