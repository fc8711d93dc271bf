"""Bytes of a training state, of a whole denoiser and of a LoRA of it; counted from shapes, nothing is allocated.

    python -m benchmarks.lora_memory
    python -m benchmarks.lora_memory --preset=emoji --rank=16

Parameters and averages are float32; moments are AdamW's two.
"""

from __future__ import annotations

import argparse

import jax

from vqdiffusion_jax import preset
from vqdiffusion_jax.config import ComputeConfig
from vqdiffusion_jax.models.denoiser import Denoiser
from vqdiffusion_jax.models.shapes import shapes_of
from vqdiffusion_jax.sharding import make_mesh
from vqdiffusion_jax.training.config import LoRAConfig
from vqdiffusion_jax.training.denoiser.config import TrainConfig
from vqdiffusion_jax.training.denoiser.state import abstract_state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="ithq")
    parser.add_argument("--rank", type=int, default=8)
    arguments = parser.parse_args()
    model, mesh = preset(arguments.preset), make_mesh(devices=jax.devices()[:1])
    print("| | trained numbers | parameters | average | moments | checkpoint |\n|---|---|---|---|---|---|")
    for name, rank in (("whole denoiser", 0), (f"LoRA of rank {arguments.rank}", arguments.rank)):
        state = abstract_state(TrainConfig(model=model, batch_size=1, steps=1, lora=LoRAConfig(rank=rank)), mesh)
        numbers = sum(leaf.size for leaf in jax.tree.leaves(state.trained))
        sizes = [mib(part) for part in (state.trained, state.ema, state.optimizer)]
        print("| " + " | ".join([name, f"{numbers:,}", *(f"{size:,.1f} MiB" for size in [*sizes, sum(sizes)])]) + " |")
    whole, half = (
        mib(shapes_of(Denoiser, model.denoiser, ComputeConfig(param_dtype=dtype))) for dtype in ("float32", "bfloat16")
    )
    print(f"\nThe frozen base of a LoRA takes {whole:,.1f} MiB in float32, {half:,.1f} MiB in bfloat16.")


def mib(tree: object) -> float:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree)) / 2**20


if __name__ == "__main__":
    main()
