"""Trackio."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping

import numpy as np

from .sink import Run


class Trackio:
    """A run of the project ``TRACKIO_PROJECT``, or "vqdiffusion-jax"; ``trackio show`` opens the page.

    Trackio tells runs by their names alone, so the run's id stands behind the folder's name.
    """

    def __init__(self, run: Run):
        self._trackio = importlib.import_module("trackio")
        self._run = self._trackio.init(
            project=os.environ.get("TRACKIO_PROJECT") or "vqdiffusion-jax",
            name=f"{run.name}-{run.id[:6]}",
            resume="allow",
            config=dict(run.config),
            embed=False,  # no frame in a notebook that trains
        )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        self._run.log({name: self._trackio.Image(pixels)}, step=step)

    def close(self, failed: bool) -> None:
        self._run.finish()
