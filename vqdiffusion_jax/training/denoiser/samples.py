"""Grids of pictures from fixed prompts and seeds, which show the same pictures become better."""

from __future__ import annotations

from typing import cast

import jax
import numpy as np

from ...models.vqdiffusion import VQDiffusionModel
from ...multihost import all_gather
from ...pipeline import VQDiffusionOutput, VQDiffusionPipeline
from ...text.tokenizer import Tokenizer
from .config import TrainConfig


def draw(
    config: TrainConfig, model: VQDiffusionModel, tokenizer: Tokenizer | None, mesh: jax.sharding.Mesh
) -> np.ndarray:
    """Return a row of ``num_samples`` pictures for each prompt or label: (height, width, 3) uint8.

    Prompts and labels that the config leaves out are the empty prompt and class 0.
    All processes of ``mesh``, on which the model lies, call this.
    """
    watch = config.watch
    pipeline = VQDiffusionPipeline(model, tokenizer, mesh=mesh if mesh.size > 1 else None)
    condition = config.model.denoiser.condition
    prompts = list(watch.prompts or ("",)) if condition == "text" else None
    labels = list(watch.labels or (0,)) if condition == "class" else None
    count = watch.num_samples * len(prompts or labels or [None])
    output = pipeline(
        prompts,
        class_labels=labels,
        num_images_per_prompt=watch.num_samples,
        seed=watch.sample_seed,
        output_type="uint8",
        batch_size=count,
        progress=False,
    )
    output = cast(VQDiffusionOutput, output)  # a tuple is returned on request only
    pictures = from_all_processes(np.asarray(output.images), np.asarray(output.indices), count)
    _, height, width, channels = pictures.shape
    rows = pictures.reshape(-1, watch.num_samples, height, width, channels)
    return rows.swapaxes(1, 2).reshape(len(rows) * height, watch.num_samples * width, channels)


def from_all_processes(mine: np.ndarray, indices: np.ndarray, count: int) -> np.ndarray:
    """Return all pictures (count, height, width, channels) uint8; this process has ``mine``, numbered ``indices``."""
    sheet = np.zeros((count, *mine.shape[1:]), np.uint8)
    sheet[indices] = mine
    return all_gather(sheet).max(axis=0)  # every picture is in one process, and black in the others
