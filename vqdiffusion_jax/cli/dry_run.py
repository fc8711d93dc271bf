"""``--dry_run``: shapes, memory and operations of a sampling run, from the configuration alone."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh

from ..call import Call
from ..config import ComputeConfig, dtype_of
from ..errors import SettingError
from ..flops import decoder_flops, denoiser_flops, text_encoder_flops
from ..models.vqdiffusion import VQDiffusionModel
from ..sampling.strategy import Adaptive
from ..sharding import AXES, shardings


def describe(
    model: VQDiffusionModel,
    compute: ComputeConfig,
    call: Call,
    *,
    batch: int,
    mesh_sizes: tuple[int, ...] | None = None,
) -> str:
    """Return shapes, memory and operations of sampling ``batch`` pictures of ``call``, as text.

    model: its shapes are enough.  compute: of the model.
    """
    config = model.config
    mesh = None if mesh_sizes is None else AbstractMesh(_sizes(mesh_sizes), AXES)
    denoiser, codec = config.denoiser, config.codec
    guided = guided_calls(call)
    forwards = len(call.plan) + guided
    spread = 1 if mesh is None else mesh.shape["data"] * mesh.shape["fsdp"]
    here = -(-batch // spread)
    size = np.dtype(compute.dtype).itemsize
    wide = denoiser.num_codes * 4 * 4 + denoiser.mlp_width * size * 2
    activations = here * (2 if guided else 1) * denoiser.num_tokens * wide
    rows = [("part", "parameters", "bytes" if mesh is None else "bytes a device")]
    for name in ("denoiser", "codec", "text_encoder"):
        part = getattr(model, name)
        leaves = jax.tree.leaves(part)
        if leaves:
            rows.append((name, f"{sum(leaf.size for leaf in leaves):,}", _bytes(_bytes_a_device(part, mesh))))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [f"{name:<{widths[0]}}  {count:>{widths[1]}}  {size:>{widths[2]}}" for name, count, size in rows]
    prompts = 0 if call.condition.ids is None else 1 if call.null is None or call.null.ids is None else 2
    text = prompts * text_encoder_flops(config.text_encoder) if config.text_encoder is not None else 0
    total = forwards * denoiser_flops(denoiser) + decoder_flops(codec) + text
    most = "at most " if isinstance(call.strategy, Adaptive) else ""
    parts = " and the decoder" if not text else ", the decoder and CLIP's text tower"
    return "\n".join(
        [
            *lines,
            f"condition {denoiser.condition}; tokens ({batch}, {denoiser.num_tokens}) of {denoiser.num_codes} codes,"
            f" grid {denoiser.grid};"
            f" pictures ({batch}, {codec.image_size}, {codec.image_size}, {codec.image_channels}) uint8",
            f"working memory about {_bytes(activations)}{'' if mesh is None else ' a device'} for a batch of {batch}"
            f" in {dtype_of(compute)}",
            f"{type(call.strategy).__name__}: {most}{len(call.plan)} network calls a picture, {guided} of them guided,"
            f" which makes {forwards} forwards of {denoiser_flops(denoiser) / 1e9:,.1f} GFLOP; with them{parts}:"
            f" {total * batch / 1e12:,.1f} TFLOP for a batch of {batch}",
        ]
    )


def guided_calls(call: Call) -> int:
    """Return the number of network calls that also run the null condition."""
    if not call.guidance.active:
        return 0
    timesteps = np.asarray(call.plan.timestep)
    low, high = call.guidance.interval or (timesteps.min(), timesteps.max())
    return int(np.sum((timesteps >= low) & (timesteps <= high)))


def _sizes(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the mesh's sizes, with -1 as large as this machine's devices allow.

    Sizes without -1 may be those of another machine.
    """
    if sizes.count(-1) > 1 or any(size != -1 and size < 1 for size in sizes):
        told = "{mesh} is {value}; sizes must be at least 1, and only one may be -1"
        raise SettingError(told, value=",".join(map(str, sizes)))
    rest = max(jax.device_count() // math.prod(size for size in sizes if size != -1), 1)
    return tuple(rest if size == -1 else size for size in sizes)


def _bytes_a_device(part: Any, mesh: AbstractMesh | None) -> int:
    """Return the bytes of a module's arrays on each device of the mesh, or in all without one."""
    leaves = jax.tree.leaves(part)
    shapes = [leaf.shape for leaf in leaves]
    if mesh is not None:
        shapes = [
            place.shard_shape(shape)
            for place, shape in zip(jax.tree.leaves(shardings(part, mesh)), shapes, strict=True)
        ]
    return sum(math.prod(shape) * leaf.dtype.itemsize for shape, leaf in zip(shapes, leaves, strict=True))


def _bytes(count: int) -> str:
    return f"{count / 2**30:,.2f} GiB" if count >= 2**30 else f"{count / 2**20:,.1f} MiB"
