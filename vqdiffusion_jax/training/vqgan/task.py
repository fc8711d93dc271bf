"""A codec's training as a task of the loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from ...errors import ConfigError
from ...models.components import CodecComponent
from ...models.shapes import shapes_of
from ...models.vqgan import VQGAN, images_to_float, to_uint8
from ...sharding import on_mesh, shard
from ..batch import Batch, HostBatch, array_of
from ..export import export
from .config import VQGANTrainConfig
from .evaluate import make_evaluator, measure, reconstruct
from .flops import training_flops
from .perceptual import LPIPS
from .quantize import temperature_at
from .state import VQGANState, abstract_state, create_state
from .step import make_step


class VQGANTask:
    """A ``training.task.Task``.  Raises ConfigError if the batch does not divide over ``mesh``.

    Args:
      codec: what to start from, a VQGAN of ``config.codec`` and ``config.compute`` with arrays anywhere; None for
      random weights.
      fresh: start an ``ema`` codebook from the first batch; by default if no codec is given.
      lpips: needed where ``config.reconstruction.perceptual`` is above 0.
      shown: (n, height, width, 3) uint8, pictures whose reconstructions are drawn.
    """

    score = "reconstruction_loss"
    networks: Mapping[str, str] = {}

    def __init__(
        self,
        config: VQGANTrainConfig,
        mesh: jax.sharding.Mesh,
        *,
        codec: VQGAN | None = None,
        lpips: LPIPS | None = None,
        fresh: bool | None = None,
        shown: np.ndarray | None = None,
        report: tuple[str, ...] = (),
    ):
        if config.reconstruction.perceptual and lpips is None:
            raise ConfigError(
                "ReconstructionConfig.perceptual is above 0, but no LPIPS network was given; load one with load_lpips"
            )
        self.config, self.mesh, self.report = config, mesh, report
        self.flops_per_sample = training_flops(config.codec, config.discriminator)
        self._codec, self._shown = codec, shown
        self._lpips = shard(lpips, mesh)
        self._step = make_step(config, mesh, fresh=codec is None if fresh is None else fresh)

    def abstract_state(self) -> VQGANState:
        return abstract_state(self.config, self.mesh)

    def first_state(self) -> VQGANState:
        return create_state(self.config, self.mesh, self._codec)

    def check_batch(self, batch: HostBatch) -> None:
        codec = self.config.codec
        expected = (codec.image_size, codec.image_size, codec.image_channels)
        if "images" not in batch:
            raise ConfigError(
                f"the data gives {', '.join(batch)}, but a codec trains on images; leave data.cache empty"
            )
        if batch["images"].shape[1:] != expected:
            raise ConfigError(
                f"the data gives images of {batch['images'].shape[1:]} a sample, but this codec expects {expected}"
            )

    def step(self, state: VQGANState, batch: Batch) -> tuple[VQGANState, dict[str, jax.Array]]:
        return self._step(state, _images(batch), self._lpips)

    def record(self, state: VQGANState) -> dict[str, Any]:
        if self.config.codec.quantizer != "gumbel":
            return {}
        return {"temperature": float(temperature_at(self.config.codebook, state.step))}

    @cached_property
    def _evaluate(self):
        return make_evaluator(self.config, self.mesh)

    def validate(self, state: VQGANState, batches: Iterable[Batch]) -> dict[str, float]:
        """Return the averaged codec's reconstruction losses and its codebook's use."""
        return measure(self._evaluate, state.ema, map(_images, batches), self._lpips)

    @cached_property
    def _reconstruct(self):
        def made(codec: VQGAN, images: jax.Array) -> jax.Array:
            return to_uint8(reconstruct(codec, images_to_float(images))[0], rounding="round")

        return jax.jit(on_mesh(made, self.mesh), out_shardings=NamedSharding(self.mesh, P()))

    def pictures(self, state: VQGANState) -> np.ndarray | str:
        """Return the shown pictures and, below them, the averaged codec's reconstructions."""
        if self._shown is None:
            return "no pictures: none were given to show; reconstruct some with the exported codec"
        made = np.asarray(self._reconstruct(state.ema, self._shown))
        rows = [np.concatenate(list(row), axis=1) for row in (self._shown, made)]
        return np.concatenate(rows, axis=0)

    def export(self, state: VQGANState, folder: Path) -> list[str]:
        """Write the averaged codec as a native codec folder ``model``; one of an earlier end of the run is replaced."""
        part = shapes_of(CodecComponent, self.config.codec, self.config.compute)
        part.codec = state.ema
        return export(folder, part, None, int(state.step))


def _images(batch: Batch) -> Batch:
    """Return the batch without what a codec does not read."""
    images: Batch = {"images": array_of(batch, "images")}
    return images | {"weights": batch["weights"]} if "weights" in batch else images
