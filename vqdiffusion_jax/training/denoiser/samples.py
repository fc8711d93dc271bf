"""Grids of pictures from fixed prompts and seeds, so that one can watch the same pictures become better."""

from __future__ import annotations

import jax
import numpy as np

from ...pipeline import VQDiffusionPipeline
from .config import TrainConfig
from .initial import Parts, whole_model
from .state import Trained


def draw(config: TrainConfig, ema: Trained, parts: Parts, mesh: jax.sharding.Mesh) -> np.ndarray:
    """One row of ``num_samples`` pictures for each prompt or label: (height, width, 3) uint8.

    Prompts and labels that the config leaves out are the empty prompt and class 0.
    """
    watch = config.watch
    pipeline = VQDiffusionPipeline(whole_model(config, ema, parts), parts.tokenizer, mesh=mesh if mesh.size > 1 else None)
    condition = config.model.denoiser.condition
    subject = {}
    if condition == "text":
        subject = {"prompt": list(watch.prompts or ("",))}
    if condition == "class":
        subject = {"class_labels": list(watch.labels or (0,))}
    count = watch.num_samples * len(next(iter(subject.values()), [None]))
    made = pipeline(**subject, num_images_per_prompt=watch.num_samples, seed=watch.sample_seed, output_type="uint8", batch_size=count)
    pictures = np.asarray(made.images)
    _, height, width, channels = pictures.shape
    rows = pictures.reshape(-1, watch.num_samples, height, width, channels)
    return rows.swapaxes(1, 2).reshape(len(rows) * height, watch.num_samples * width, channels)
