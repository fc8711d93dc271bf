"""Train steps as functions and the shapes of their arguments, for compilers: of a denoiser and of a codec."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding

from vqdiffusion_jax.config import ComputeConfig, ModelConfig, VQGANConfig
from vqdiffusion_jax.models.clip import CLIPTextEncoder
from vqdiffusion_jax.models.shapes import shapes_of
from vqdiffusion_jax.sharding import AXES, ShardingRules, shardings
from vqdiffusion_jax.training.denoiser.config import TrainConfig
from vqdiffusion_jax.training.denoiser.state import abstract_state
from vqdiffusion_jax.training.denoiser.step import Frozen, make_step
from vqdiffusion_jax.training.vqgan import state as codec_state
from vqdiffusion_jax.training.vqgan import step as codec_step
from vqdiffusion_jax.training.vqgan.config import VQGANTrainConfig


def mesh_of(devices: Any, sizes: tuple[int, int, int]) -> Mesh:
    """Return a mesh (data, fsdp, tensor) of devices, also of a topology that is not here."""
    return Mesh(np.array(devices).reshape(sizes), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def denoiser_step(config: ModelConfig, compute: ComputeConfig, mesh: Mesh, batch: int) -> tuple[Any, tuple]:
    """Return the train step of a denoiser on cached tokens, and its arguments' shapes.

    batch: samples of the whole mesh.
    """
    training = TrainConfig(model=config, batch_size=batch, steps=1, compute=compute)
    denoiser, split = config.denoiser, NamedSharding(mesh, ShardingRules().batch)

    def spread(shape, dtype):
        return jax.ShapeDtypeStruct((batch, *shape), dtype, sharding=split)

    given, tower = {"tokens": spread((denoiser.num_tokens,), "int32")}, None
    if denoiser.condition == "class":
        given["labels"] = spread((), "int32")
    if denoiser.condition == "text":
        given["text_ids"] = spread((denoiser.condition_length,), "int32")
        given["text_mask"] = spread((denoiser.condition_length,), "bool")
        shapes = shapes_of(CLIPTextEncoder, config.text_encoder, ComputeConfig())
        tower = jax.tree.map(
            lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where),
            shapes,
            shardings(shapes, mesh),
        )
    return make_step(training, mesh), (abstract_state(training, mesh), given, Frozen(text_encoder=tower))


def vqgan_step(config: VQGANConfig, compute: ComputeConfig, mesh: Mesh, batch: int) -> tuple[Any, tuple]:
    """Return the train step of a codec without LPIPS, and its arguments' shapes.

    batch: pictures of the whole mesh.
    """
    training = VQGANTrainConfig(codec=config, batch_size=batch, steps=1, compute=compute)
    sides = (batch, config.image_size, config.image_size, config.image_channels)
    images = jax.ShapeDtypeStruct(sides, "uint8", sharding=NamedSharding(mesh, ShardingRules().batch))
    step = codec_step.make_step(training, mesh)
    return step, (codec_state.abstract_state(training, mesh), {"images": images}, None)
