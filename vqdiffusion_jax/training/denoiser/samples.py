"""Grids of pictures from fixed prompts and seeds, so that one can watch the same pictures become better."""

from __future__ import annotations

import jax
import numpy as np

from ...models.vqdiffusion import VQDiffusionModel
from ...pipeline import VQDiffusionPipeline
from ...text.tokenizer import Tokenizer
from .config import TrainConfig


def draw(
    config: TrainConfig, model: VQDiffusionModel, tokenizer: Tokenizer | None, mesh: jax.sharding.Mesh
) -> np.ndarray:
    """One row of ``num_samples`` pictures for each prompt or label: (height, width, 3) uint8, the same in every process.

    Prompts and labels that the config leaves out are the empty prompt and class 0.
    All processes of ``mesh``, on which the model lies, call this.
    """
    watch = config.watch
    pipeline = VQDiffusionPipeline(model, tokenizer, mesh=mesh if mesh.size > 1 else None)
    condition = config.model.denoiser.condition
    subject = {}
    if condition == "text":
        subject = {"prompt": list(watch.prompts or ("",))}
    if condition == "class":
        subject = {"class_labels": list(watch.labels or (0,))}
    count = watch.num_samples * len(next(iter(subject.values()), [None]))
    made = pipeline(
        **subject,
        num_images_per_prompt=watch.num_samples,
        seed=watch.sample_seed,
        output_type="uint8",
        batch_size=count,
    )
    pictures = from_all_processes(made.images, made.indices, count)
    _, height, width, channels = pictures.shape
    rows = pictures.reshape(-1, watch.num_samples, height, width, channels)
    return rows.swapaxes(1, 2).reshape(len(rows) * height, watch.num_samples * width, channels)


def from_all_processes(mine: np.ndarray, indices: np.ndarray, count: int) -> np.ndarray:
    """All ``count`` pictures, of which this process has ``mine``, those numbered ``indices``."""
    if jax.process_count() == 1:
        return mine
    from jax.experimental.multihost_utils import process_allgather

    sheet = np.zeros((count, *mine.shape[1:]), np.uint8)
    sheet[indices] = mine
    return process_allgather(sheet).max(axis=0)  # every picture is in one process, and black in the others
