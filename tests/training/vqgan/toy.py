"""A codec small enough to compile in seconds, and pictures it can learn: two flat colours each."""

from dataclasses import replace

import jax
import numpy as np

from vqdiffusion_jax.config import VQGANConfig
from vqdiffusion_jax.models.shapes import shapes_of
from vqdiffusion_jax.models.vqgan import VQGAN
from vqdiffusion_jax.paths import path_of
from vqdiffusion_jax.sharding import make_mesh
from vqdiffusion_jax.training.batch import place_batch
from vqdiffusion_jax.training.config import EMAConfig, LearningRateConfig
from vqdiffusion_jax.training.vqgan.config import CodebookConfig, ReconstructionConfig, VQGANTrainConfig
from vqdiffusion_jax.training.vqgan.task import VQGANTask

CODEC = VQGANConfig(
    quantizer="ema",
    codebook_size=24,
    embed_dim=4,
    image_size=16,
    channels=8,
    channel_multipliers=(1, 2),
    num_res_blocks=1,
    attention_levels=(),
    z_channels=8,
    norm_groups=4,
)
BATCH = 16


def make_config(quantizer: str = "ema", **changes) -> VQGANTrainConfig:
    values = {
        "codec": replace(CODEC, quantizer=quantizer),
        "batch_size": BATCH,
        "steps": 30,
        "learning_rate": LearningRateConfig(start=2e-3, peak=5e-3, warmup_steps=2),
        "reconstruction": ReconstructionConfig(l1=0.7, l2=0.3),
        "codebook": CodebookConfig(weight=2.0, temperature_steps=30),
        "ema": EMAConfig(decay=0.8, interval=1),
        "workers": 0,
    }
    return VQGANTrainConfig(**(values | changes))


def make_images(number: int = 0) -> np.ndarray:
    """(BATCH, 16, 16, 3) uint8: a rectangle on a background."""
    random = np.random.default_rng(number)
    images = np.empty((BATCH, 16, 16, 3), np.uint8)
    images[:] = random.integers(0, 256, (BATCH, 1, 1, 3))
    for image in images:
        top, left = random.integers(0, 8, 2)
        image[top : top + 8, left : left + 8] = random.integers(0, 256, 3)
    return images


def one_device():
    return make_mesh(devices=jax.devices()[:1])


_tasks = {}


def make_task(config: VQGANTrainConfig) -> VQGANTask:
    """A task, compiled once for all tests of a process that ask for the same."""
    if repr(config) not in _tasks:
        _tasks[repr(config)] = VQGANTask(
            config, one_device(), codec=make_codec(config), fresh=True, shown=make_images()[:3]
        )
    return _tasks[repr(config)]


def make_codec(config: VQGANTrainConfig) -> VQGAN:
    """Random weights from numpy: compiling JAX's random numbers for every weight takes longer than all the rest."""
    random = np.random.default_rng(0)

    def fill(key_path, leaf):
        name, fan_in = path_of(key_path).split(".")[-1], max(int(np.prod(leaf.shape[:-1])), 1)
        if name in ("scale", "cluster_size"):
            return np.ones(leaf.shape, np.float32)
        bound = 1 / config.codec.codebook_size if name.startswith("codebook") else fan_in**-0.5
        return (
            np.zeros(leaf.shape, np.float32)
            if name == "bias"
            else random.uniform(-bound, bound, leaf.shape).astype(np.float32)
        )

    return jax.tree_util.tree_map_with_path(fill, shapes_of(VQGAN, config.codec, config.compute))


def placed(images: np.ndarray) -> dict[str, jax.Array]:
    return place_batch({"images": images}, one_device())


class ToyLoader:
    """The same pictures again and again, as the input pipeline would give them."""

    num_examples = BATCH

    def __iter__(self):
        return ToyIterator()


class ToyIterator:
    taken = 0

    def __next__(self):
        self.taken += 1
        return {"images": make_images(self.taken % 3), "ids": np.array([str(row) for row in range(BATCH)])}

    def get_state(self):
        return {"taken": self.taken}

    def set_state(self, state):
        self.taken = int(state["taken"])
