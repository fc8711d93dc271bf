"""A training step of the denoiser: forward, backward, AdamW and the running average, on random tokens and text states.

    python -m benchmarks.training [--models emoji,imagenet_cf,coco_cf] [--batch 2] [--layers 2]

There is no peer: diffusers cannot train VQ-Diffusion.
"""

from __future__ import annotations

import jax
import numpy as np

from benchmarks._measure import WITHOUT_FLOAT8, alternate, arguments, finish_beside_matmul, matmul_ceiling, rows_of
from benchmarks._models import config_of, random_ids, random_model, random_tokens
from vqdiffusion_jax.config import ComputeConfig
from vqdiffusion_jax.flops import denoiser_flops
from vqdiffusion_jax.sharding import make_mesh
from vqdiffusion_jax.training.denoiser.config import TrainConfig
from vqdiffusion_jax.training.denoiser.state import create_state
from vqdiffusion_jax.training.denoiser.step import Frozen, make_step


def main() -> None:
    parser = arguments(__doc__, "training", WITHOUT_FLOAT8)
    parser.add_argument("--models", default="emoji,imagenet_cf,coco_cf")
    parser.add_argument("--batch", type=int, default=2)
    options = parser.parse_args()
    ceiling, rows = matmul_ceiling(options.dtype), []
    for name in options.models.split(","):
        config = config_of(name, options.layers)
        timings = alternate({"ours": _step(name, config, options.batch, options.dtype)}, options.repeats)
        flops = 3 * options.batch * denoiser_flops(config.denoiser)
        facts = {"batch": options.batch, "layers": config.denoiser.num_layers, "dtype": options.dtype}
        rows += rows_of(f"{name} x {options.batch}", timings, flops=flops, **facts)
    finish_beside_matmul("training", rows, options, ceiling)


def _step(name, config, batch, dtype):
    mesh = make_mesh(devices=jax.devices()[:1])
    train = TrainConfig(model=config, compute=ComputeConfig(dtype=dtype), batch_size=batch, steps=10**6)
    state = create_state(train, mesh)
    step = make_step(train, mesh)
    data = {"tokens": random_tokens(config, batch) % config.denoiser.num_codes}
    frozen = Frozen()
    if config.denoiser.condition == "text":
        frozen = Frozen(text_encoder=random_model(config_of(name, 1), dtype).text_encoder)
        data |= {
            "text_ids": random_ids(config, batch),
            "text_mask": np.ones((batch, config.tokenizer.context_length), bool),
        }
    if config.denoiser.condition == "class":
        data["labels"] = np.arange(batch, dtype=np.int32)

    def run():
        nonlocal state
        state, metrics = step(state, data, frozen)
        jax.block_until_ready(metrics)

    return run


if __name__ == "__main__":
    main()
