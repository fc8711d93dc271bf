"""MLflow."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Mapping

import numpy as np

from .sink import Run
from .sinks import finite, flat

_ID = "vqdiffusion_jax.run"  # a tag
_PARAMETERS_A_CALL = 100  # MLflow takes no more at once
_LONGEST_PARAMETER = 500  # of a value, in characters; servers before MLflow 2.8 take no more


class MLflow:
    """A run of the experiment ``MLFLOW_EXPERIMENT_NAME``, or "vqdiffusion-jax", at ``MLFLOW_TRACKING_URI``.

    Numbers that are not finite are left out, as databases take none.
    """

    def __init__(self, run: Run):
        self._entities = importlib.import_module("mlflow.entities")
        self._client = importlib.import_module("mlflow").MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "vqdiffusion-jax"
        experiment = self._client.get_experiment_by_name(name)
        place = self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        if found := self._client.search_runs([place], filter_string=f"tags.`{_ID}` = '{run.id}'"):
            self._id = found[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
        else:
            self._id = self._client.create_run(place, run_name=run.name, tags={_ID: run.id}).info.run_id
            parameters = [
                self._entities.Param(key, str(value)[:_LONGEST_PARAMETER]) for key, value in flat(run.config).items()
            ]
            for first in range(0, len(parameters), _PARAMETERS_A_CALL):
                self._client.log_batch(self._id, params=parameters[first : first + _PARAMETERS_A_CALL])

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        now, metric = time.time_ns() // 1_000_000, self._entities.Metric
        self._client.log_batch(self._id, [metric(name, value, now, step) for name, value in finite(values).items()])

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        self._client.log_image(self._id, pixels, key=name, step=step)

    def close(self, failed: bool) -> None:
        self._client.set_terminated(self._id, "FAILED" if failed else "FINISHED")
