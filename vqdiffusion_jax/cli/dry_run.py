"""``--dry_run``: what a sampling run would take, from the configuration alone."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
from flax import nnx

from ..config import ComputeConfig
from ..flops import decoder_flops, denoiser_flops
from ..loading import read_config
from ..models.vqdiffusion import VQDiffusionModel


def describe(checkpoint: Path, companions: dict, compute: ComputeConfig, batch: int) -> str:
    """Shapes, memory and operations of sampling ``batch`` pictures, as text; weights are not read where config.json tells."""
    if (checkpoint / "config.json").is_file() and not (checkpoint / "model_index.json").exists():
        config = read_config(checkpoint)
    else:
        from ..loading import read_foreign

        config = read_foreign(checkpoint, **companions)[0].config
    model = jax.eval_shape(lambda: VQDiffusionModel(config, compute, rngs=nnx.Rngs(0)))
    denoiser, codec = config.denoiser, config.codec
    steps = denoiser.num_timesteps
    forwards = 2 * steps
    size = np.dtype(compute.dtype).itemsize
    activations = batch * 2 * denoiser.num_tokens * (denoiser.num_codes * 4 * 4 + denoiser.width * denoiser.mlp_ratio * size * 2)
    rows = [("part", "parameters", "bytes")]
    for name in ("denoiser", "codec", "text_encoder"):
        leaves = jax.tree.leaves(getattr(model, name))
        if leaves:
            rows.append((name, f"{sum(leaf.size for leaf in leaves):,}", _bytes(sum(leaf.size * leaf.dtype.itemsize for leaf in leaves))))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [f"{name:<{widths[0]}}  {count:>{widths[1]}}  {size:>{widths[2]}}" for name, count, size in rows]
    return "\n".join([
        *lines,
        f"condition {denoiser.condition}; tokens ({batch}, {denoiser.num_tokens}) of {denoiser.num_codes} codes, grid {denoiser.grid};"
        f" pictures ({batch}, {codec.image_size}, {codec.image_size}, {codec.image_channels}) uint8",
        f"working memory about {_bytes(activations)} for a batch of {batch}, guided, in {compute.dtype}",
        f"{denoiser_flops(denoiser) / 1e9:,.1f} GFLOP a forward; {forwards} forwards a guided picture in {steps} steps, then the decoder:"
        f" {(forwards * denoiser_flops(denoiser) + decoder_flops(codec)) * batch / 1e12:,.1f} TFLOP in all",
    ])  # fmt: skip


def _bytes(count: int) -> str:
    return f"{count / 2**30:,.2f} GiB" if count >= 2**30 else f"{count / 2**20:,.1f} MiB"
