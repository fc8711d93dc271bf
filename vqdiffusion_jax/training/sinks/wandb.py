"""Weights & Biases."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping

import numpy as np

from .sink import Run


class WeightsAndBiases:
    """A run of the project ``WANDB_PROJECT``, or "vqdiffusion-jax"; its other settings are wandb's own variables.

    ``WANDB_MODE=offline`` writes to ``wandb/`` in the current folder, for ``wandb sync``.
    """

    def __init__(self, run: Run):
        self._wandb = importlib.import_module("wandb")
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "vqdiffusion-jax",
            name=run.name,
            id=run.id,
            resume="allow",
            config=dict(run.config),
            reinit="create_new",  # a run that the caller has open stays as it is
        )
        # wandb's own step only counts up; validation of a step comes after its record, also from a run that goes on.
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({**values, "step": step})

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        self._run.log({name: self._wandb.Image(pixels), "step": step})

    def close(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))
