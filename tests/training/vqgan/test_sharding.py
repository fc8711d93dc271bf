"""Four simulated devices against one."""

import numpy as np
import pytest

from tests.processes import run_on_devices

SCRIPT = """
import sys
import jax
import numpy as np
from tests.training.vqgan.toy import make_codec, make_config, make_images
from vqdiffusion_jax.sharding import make_mesh
from vqdiffusion_jax.training.batch import place_batch
from vqdiffusion_jax.training.vqgan.config import DiscriminatorConfig
from vqdiffusion_jax.training.vqgan.task import VQGANTask

assert jax.device_count() == 4
config = make_config("ema", discriminator=DiscriminatorConfig(weight=0.5, channels=8, num_layers=2, norm_groups=4))
found = {}
for sizes in [(1, 1, 1), (4, 1, 1), (1, 2, 2)]:
    task = VQGANTask(config, make_mesh(*sizes, devices=jax.devices()[: np.prod(sizes)]), codec=make_codec(config))
    state, values = task.first_state(), []
    if sizes == (1, 2, 2):
        kernel = state.optimizer[1].mu.decoder.conv_in.kernel[...]
        assert kernel.addressable_shards[0].data.size * 4 == kernel.size, "moments are not split"
    for number in range(4):
        state, metrics = task.step(state, place_batch({"images": make_images(number)}, task.mesh))
        values.append([float(metrics[name]) for name in ("loss", "grad_norm", "perplexity", "adversarial_weight",
        "discriminator_loss")])
    measured = task.validate(state, [place_batch({"images": make_images(9)}, task.mesh)])
    found["x".join(map(str, sizes))] = np.array([*np.ravel(values), *(measured[name] for name in sorted(measured))])
np.savez(sys.argv[1], **found)
"""


@pytest.mark.slow
def test_meshes_agree(tmp_path):
    done = run_on_devices(4, "-c", SCRIPT, tmp_path / "found.npz")
    assert done.returncode == 0, done.stderr[-3000:]
    found = np.load(tmp_path / "found.npz")
    for sizes in ("4x1x1", "1x2x2"):
        np.testing.assert_allclose(found[sizes], found["1x1x1"], rtol=1e-3, err_msg=sizes)
