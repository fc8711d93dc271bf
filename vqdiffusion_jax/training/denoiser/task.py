"""The denoiser's training as a task of the loop."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ...flops import denoiser_flops
from ...models.shapes import shapes_of
from ...models.vqdiffusion import VQDiffusionModel
from ...sharding import shard
from ..export import export
from .batches import check_batch
from .config import TrainConfig
from .evaluate import bits_per_token, make_evaluator
from .init_from import Parts
from .samples import draw
from .state import TrainState, abstract_state, create_state
from .step import Batch, Frozen, make_step, text_encoder_of


class DenoiserTask:
    """See ``training.task.Task``; raises ConfigError if the batch does not divide over ``mesh``."""

    score = "bits_per_token"

    def __init__(self, config: TrainConfig, parts: Parts, mesh: jax.sharding.Mesh):
        self.config, self.mesh, self.report = config, mesh, parts.report
        # Backward costs twice forward; recomputed activations are not counted as useful work.
        self.flops_per_sample = 3 * denoiser_flops(config.model.denoiser)
        self._parts = parts
        self._step = make_step(config, mesh)

    @cached_property
    def _towers(self) -> Frozen:
        return shard(Frozen(codec=self._parts.codec, text_encoder=self._parts.text_encoder), self.mesh)

    def _frozen(self, batch: Batch) -> Frozen:
        # Without a codec in the batch's way it need not be in the program either.
        return self._towers if "images" in batch else Frozen(text_encoder=self._towers.text_encoder)

    def abstract_state(self) -> TrainState:
        return abstract_state(self.config, self.mesh)

    def first_state(self) -> TrainState:
        return create_state(self.config, self.mesh, self._parts.trained)

    def check_batch(self, batch: dict[str, np.ndarray]) -> None:
        check_batch(batch, self.config.model)

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        return self._step(state, batch, self._frozen(batch))

    def record(self, state: TrainState) -> dict[str, Any]:
        return {"loss_by_timestep": loss_by_timestep(state.losses.history, self.config.model.denoiser.num_tokens)}

    @cached_property
    def _evaluate(self):
        return make_evaluator(self.config.model, self.mesh)

    def validate(self, state: TrainState, batches: Iterable[Batch]) -> dict[str, float]:
        """Bits per token of the averaged weights."""
        return {"bits_per_token": bits_per_token(self._evaluate, state.ema, batches, self._towers)}

    def pictures(self, state: TrainState) -> np.ndarray | str:
        """A grid from the averaged weights, fixed prompts and seeds."""
        if self._parts.codec is None:
            return "no pictures: no codec was given (--codec)"
        return draw(self.config, self._whole_model(state), self._parts.tokenizer, self.mesh)

    def export(self, state: TrainState, folder: Path) -> list[str]:
        """The averaged weights as a native model folder ``model``; one of an earlier end of the run is replaced."""
        if self._parts.codec is None:
            return [
                "no model folder is written without a codec; repeat the command with --codec=FILE_OR_FOLDER, and it will be"
            ]
        return export(folder, self._whole_model(state), self._parts.tokenizer, int(state.step))

    @cached_property
    def _abstract_model(self) -> VQDiffusionModel:
        return shapes_of(VQDiffusionModel, self.config.model, self.config.compute)

    def _whole_model(self, state: TrainState) -> VQDiffusionModel:
        """Averaged and frozen networks, all on the mesh, as the model that sampling and saving take."""
        model = jax.tree.map(lambda leaf: leaf, self._abstract_model)  # a copy
        model.denoiser, model.codec = state.ema.denoiser, self._towers.codec
        model.text_encoder = text_encoder_of(state.ema, self._towers)
        return model


def loss_by_timestep(history: Any, num_tokens: int) -> list[float]:
    """Running root mean square of the loss at each timestep, in nats a token; 0 where none was drawn yet."""
    return [round(float(value), 5) for value in np.sqrt(np.asarray(history)) / num_tokens]
