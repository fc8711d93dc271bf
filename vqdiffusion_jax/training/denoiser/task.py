"""The denoiser's training as a task of the loop."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ...config import to_dict
from ...data.token_cache import codec_fingerprint, digest_of
from ...flops import denoiser_flops
from ...models.shapes import shapes_of
from ...models.vqdiffusion import VQDiffusionModel
from ...sharding import shard
from ...text.known_words import KnownWords
from ..batch import Batch, HostBatch
from ..export import export
from .check import check_batch
from .config import TrainConfig
from .evaluate import bits_per_token, make_evaluator
from .init_from import Pretrained
from .samples import draw
from .state import TrainState, abstract_state, create_state
from .step import Frozen, make_step, text_encoder_of


class DenoiserTask:
    """A ``training.task.Task``.  Raises ConfigError if the batch does not divide over ``mesh``.

    known_words: of the captions it is trained on, for the model folder; the caller sets them once the data are open.
    """

    known_words: KnownWords | None = None
    score = "bits_per_token"

    def __init__(self, config: TrainConfig, pretrained: Pretrained, mesh: jax.sharding.Mesh):
        self.config, self.mesh, self.report = config, mesh, pretrained.report
        # Backward costs twice forward; recomputed activations are not counted as useful work.
        self.flops_per_sample = 3 * denoiser_flops(config.model.denoiser)
        self._pretrained = pretrained
        self._step = make_step(config, mesh)

    @cached_property
    def networks(self) -> dict[str, str]:
        """Return the fingerprints of the codec and the text tower, as far as they are there."""
        codec, tower = self._pretrained.codec, self._pretrained.text_encoder
        made_by = self._pretrained.codec_fingerprint if codec is None else codec_fingerprint(codec)
        found = {} if made_by is None else {"codec": made_by}
        return found if tower is None else found | {"text_encoder": digest_of(to_dict(tower.config), tower)}

    @cached_property
    def _towers(self) -> Frozen:
        return shard(Frozen(codec=self._pretrained.codec, text_encoder=self._pretrained.text_encoder), self.mesh)

    def _frozen(self, batch: Batch) -> Frozen:
        # A batch of tokens needs no codec, so that the program need not hold one either.
        return self._towers if "images" in batch else Frozen(text_encoder=self._towers.text_encoder)

    def abstract_state(self) -> TrainState:
        return abstract_state(self.config, self.mesh)

    def first_state(self) -> TrainState:
        return create_state(self.config, self.mesh, self._pretrained.trained)

    def check_batch(self, batch: HostBatch) -> None:
        check_batch(batch, self.config.model)

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        return self._step(state, batch, self._frozen(batch))

    def record(self, state: TrainState) -> dict[str, Any]:
        return {"loss_by_timestep": loss_by_timestep(state.losses.history, self.config.model.denoiser.num_tokens)}

    @cached_property
    def _evaluate(self):
        return make_evaluator(self.config.model, self.mesh)

    def validate(self, state: TrainState, batches: Iterable[Batch]) -> dict[str, float]:
        """Return the bits per token of the averaged weights."""
        return {"bits_per_token": bits_per_token(self._evaluate, state.ema, batches, self._towers)}

    def pictures(self, state: TrainState) -> np.ndarray | str:
        """Return a grid drawn by the averaged weights from fixed prompts and seeds."""
        if self._pretrained.codec is None:
            return "no pictures: no codec was given (--codec)"
        return draw(self.config, self._whole_model(state), self._pretrained.tokenizer, self.mesh)

    def export(self, state: TrainState, folder: Path) -> list[str]:
        """Write the averaged weights as a native folder ``model``; one of an earlier end of the run is replaced."""
        if self._pretrained.codec is None:
            return [
                "no model folder is written without a codec; "
                "repeat the command with --codec=FILE_OR_FOLDER, and it will be"
            ]
        model, tokenizer = self._whole_model(state), self._pretrained.tokenizer
        return export(folder, model, tokenizer, int(state.step), self.known_words)

    @cached_property
    def _abstract_model(self) -> VQDiffusionModel:
        return shapes_of(VQDiffusionModel, self.config.model, self.config.compute)

    def _whole_model(self, state: TrainState) -> VQDiffusionModel:
        """Return averaged and frozen networks, all on the mesh, as one model to sample from and to save."""
        model = jax.tree.map(lambda leaf: leaf, self._abstract_model)  # a copy
        model.denoiser, model.codec = state.ema.denoiser, self._towers.codec
        model.text_encoder = text_encoder_of(state.ema, self._towers)
        return model


def loss_by_timestep(history: Any, num_tokens: int) -> list[float]:
    """Return the running root mean square of the loss at each timestep, in nats a token; 0 where none was drawn yet."""
    return [round(float(value), 5) for value in np.sqrt(np.asarray(history)) / num_tokens]
