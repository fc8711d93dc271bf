"""The denoiser's training as a task of the loop."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ...config import to_dict
from ...data.token_cache import codec_fingerprint, digest_of
from ...flops import denoiser_flops
from ...models.denoiser import Denoiser
from ...models.lora import merged
from ...models.shapes import shapes_of
from ...models.vqdiffusion import VQDiffusionModel
from ...sharding import shard
from ...text.known_words import KnownWords
from ..batch import Batch, HostBatch
from ..export import export, export_lora
from .check import check_batch
from .config import TrainConfig
from .evaluate import bits_per_token, make_evaluator
from .init_from import Pretrained
from .samples import draw
from .state import TrainState, abstract_state, create_state
from .step import Frozen, denoiser_of, make_step, text_encoder_of


class DenoiserTask:
    """A ``training.task.Task``.  Raises ConfigError if the batch does not divide over ``mesh``.

    known_words: of the captions it is trained on, for the model folder; the caller sets them once the data are open.
    """

    known_words: KnownWords | None = None
    score = "bits_per_token"

    def __init__(self, config: TrainConfig, pretrained: Pretrained, mesh: jax.sharding.Mesh):
        self.config, self.mesh, self.report = config, mesh, pretrained.report
        # Backward costs twice forward, of which a LoRA's base, whose weights take no gradient, needs half; recomputed
        # activations are not counted as useful work.
        self.flops_per_sample = (2 if config.lora.rank else 3) * denoiser_flops(config.model.denoiser)
        self._pretrained = pretrained
        self._step = make_step(config, mesh)

    @cached_property
    def networks(self) -> dict[str, str]:
        """Return the fingerprints of the codec, the text tower and a LoRA's base, as far as they are there."""
        codec, tower = self._pretrained.codec, self._pretrained.text_encoder
        made_by = self._pretrained.codec_fingerprint if codec is None else codec_fingerprint(codec)
        found = {} if made_by is None else {"codec": made_by}
        others = {"text_encoder": tower, "base": self._pretrained.base}
        return found | {
            name: digest_of(to_dict(network.config), network) for name, network in others.items() if network is not None
        }

    @cached_property
    def _towers(self) -> Frozen:
        given = self._pretrained
        return shard(Frozen(codec=given.codec, text_encoder=given.text_encoder, denoiser=given.base), self.mesh)

    def _frozen(self, batch: Batch) -> Frozen:
        # A batch of tokens needs no codec, so that the program need not hold one either.
        return self._towers if "images" in batch else replace(self._towers, codec=None)

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
        """Write the averaged weights as a native folder ``model``, and a LoRA as a file too.

        Those of an earlier end of the run are replaced.
        """
        lines = []
        if state.ema.lora is not None:
            about = {"base": self._pretrained.base_name, "base_fingerprint": self.networks.get("base")}
            lines += export_lora(folder, state.ema.lora, **about, steps=int(state.step))
        if self._pretrained.codec is None:
            return [
                *lines,
                "no model folder is written without a codec; "
                "repeat the command with --codec=FILE_OR_FOLDER, and it will be",
            ]
        model, tokenizer = self._whole_model(state), self._pretrained.tokenizer
        return lines + export(folder, model, tokenizer, int(state.step), self.known_words)

    def _averaged(self, state: TrainState) -> Denoiser:
        """Return the averaged denoiser, an averaged LoRA being added to its base's weights."""
        if state.ema.lora is None:
            return denoiser_of(state.ema, self._towers)
        assert self._towers.denoiser is not None  # as of every LoRA
        return merged(self._towers.denoiser, [(state.ema.lora, 1.0)])

    @cached_property
    def _abstract_model(self) -> VQDiffusionModel:
        return shapes_of(VQDiffusionModel, self.config.model, self.config.compute)

    def _whole_model(self, state: TrainState) -> VQDiffusionModel:
        """Return averaged and frozen networks, all on the mesh, as one model to sample from and to save."""
        model = jax.tree.map(lambda leaf: leaf, self._abstract_model)  # a copy
        model.denoiser, model.codec = self._averaged(state), self._towers.codec
        model.text_encoder = text_encoder_of(state.ema, self._towers)
        return model


def loss_by_timestep(history: Any, num_tokens: int) -> list[float]:
    """Return the running root mean square of the loss at each timestep, in nats a token; 0 where none was drawn yet."""
    return [round(float(value), 5) for value in np.sqrt(np.asarray(history)) / num_tokens]
