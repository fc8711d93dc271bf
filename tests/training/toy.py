"""Small runs for the tests: configurations, batches and frozen networks of the tiny presets."""

import functools

import numpy as np

from tests.networks import random_network
from vqdiffusion_jax.config import ComputeConfig
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.presets import preset
from vqdiffusion_jax.training.config import EMAConfig, LearningRateConfig
from vqdiffusion_jax.training.denoiser.config import TrainConfig
from vqdiffusion_jax.training.denoiser.step import Frozen, make_step

PRESETS = {"text": "tiny_text", "class": "tiny_class", "none": "tiny_unconditional"}


def make_config(condition: str = "none", **changes) -> TrainConfig:
    values = {
        "model": preset(PRESETS[condition]),
        "batch_size": 8,
        "steps": 6,
        "compute": ComputeConfig(),
        "learning_rate": LearningRateConfig(start=1e-3, peak=1e-2, warmup_steps=4),
        "ema": EMAConfig(decay=0.5, interval=2),
        "workers": 0,
        "seed": 3,
    }
    return TrainConfig(**(values | changes))


def make_batch(config: TrainConfig, number: int = 0, *, images: bool = False) -> dict[str, np.ndarray]:
    """Batch ``number``, a function of it alone."""
    random = np.random.default_rng(number)
    model, size = config.model, config.batch_size
    if images:
        side = model.codec.image_size
        batch = {"images": random.integers(0, 256, (size, side, side, 3), dtype=np.uint8)}
    else:
        batch = {
            "tokens": random.integers(0, model.denoiser.num_codes, (size, model.denoiser.num_tokens), dtype=np.int32)
        }
    if model.denoiser.condition == "class":
        batch["labels"] = random.integers(0, model.denoiser.num_classes + 1, size, dtype=np.int32)
    if model.denoiser.condition == "text":
        length = model.denoiser.condition_length
        words = random.integers(0, length - 2, size)
        words[0] = 0  # an empty caption
        batch["text_mask"] = np.arange(length) < words[:, None] + 2
        batch["text_ids"] = np.where(batch["text_mask"], random.integers(1, 49000, (size, length)), 0).astype(np.int32)
    return batch


@functools.cache
def _model(condition: str) -> VQDiffusionModel:
    return random_network(VQDiffusionModel, preset(PRESETS[condition]), ComputeConfig(), seed=7)


def make_model(config: TrainConfig) -> VQDiffusionModel:
    return _model(config.model.denoiser.condition)


def make_frozen(config: TrainConfig) -> Frozen:
    model = make_model(config)
    return Frozen(codec=model.codec, text_encoder=model.text_encoder)


_steps = {}


def shared_step(config: TrainConfig, mesh):
    """``make_step``, compiled once for all tests of a process that ask for the same."""
    asked = repr(config), mesh  # a configuration holds tables, which have no hash
    if asked not in _steps:
        _steps[asked] = make_step(config, mesh)
    return _steps[asked]


class ToyLoader:
    """Batches of ``make_batch`` without end, as the input pipeline would give them."""

    def __init__(self, config: TrainConfig, *, process: tuple[int, int] = (0, 1)):
        self.config, self.process = config, process
        self.num_examples = 10 * config.batch_size

    def __iter__(self):
        return ToyIterator(self.config, self.process)


class ToyIterator:
    def __init__(self, config, process):
        self.config, self.process, self.taken = config, process, 0

    def __next__(self):
        batch = make_batch(self.config, self.taken)
        batch["ids"] = np.array([f"picture-{self.taken}-{row}" for row in range(self.config.batch_size)])
        self.taken += 1
        index, count = self.process
        size = self.config.batch_size // count
        return {name: array[index * size : (index + 1) * size] for name, array in batch.items()}

    def __iter__(self):
        return self

    def get_state(self):
        return {"taken": self.taken}

    def set_state(self, state):
        self.taken = int(state["taken"])
