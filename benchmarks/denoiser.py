"""One forward pass of the denoiser, no guidance and nothing after it, beside diffusers with the same weights.

    python -m benchmarks.denoiser [--models coco_cf,ithq,imagenet_cf,emoji] [--batches 1] [--layers 2]

diffusers holds text models only; the class model is timed alone.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._measure import alternate, arguments, finish_beside_matmul, matmul_ceiling, rows_of
from benchmarks._models import config_of, peer_of, random_model, random_tokens
from benchmarks._step import request_of
from vqdiffusion_jax.flops import denoiser_flops
from vqdiffusion_jax.generation import prepare

TIMESTEP = 50


def main() -> None:
    parser = arguments(__doc__, "denoiser")
    parser.add_argument("--models", default="coco_cf,ithq,imagenet_cf,emoji")
    parser.add_argument("--batches", default="1")
    options = parser.parse_args()
    ceiling, rows, notes = matmul_ceiling(options.dtype), [], {}
    for name in options.models.split(","):
        config = config_of(name, options.layers)
        model = random_model(config, options.dtype)
        peer = (
            peer_of(model, options.dtype)
            if config.denoiser.condition == "text"
            else "no peer: diffusers has text models only"
        )
        for batch in map(int, options.batches.split(",")):
            contestants = {"ours": _ours(model, batch)}
            if isinstance(peer, str):
                notes[name] = peer
            else:
                contestants[peer.name] = _theirs(peer, model, batch)
            facts = {"batch": batch, "layers": config.denoiser.num_layers, "dtype": options.dtype}
            flops = batch * denoiser_flops(config.denoiser)
            rows += rows_of(f"{name} x {batch}", alternate(contestants, options.repeats), flops=flops, **facts)
    finish_beside_matmul("denoiser", rows, options, ceiling, missing=notes)


def _ours(model, batch):
    request = request_of(model, batch, 1, guided=False)
    prepared = jax.block_until_ready(jax.jit(prepare)(model, request))
    forward = jax.jit(
        lambda m, x, p: m.denoiser(x, jnp.int32(TIMESTEP), conditioning=p.conditional, modulation=p.modulation)
    )
    return lambda: forward(model, request.start, prepared).block_until_ready()


def _theirs(peer, model, batch):
    tokens = peer.tensor(random_tokens(model.config, batch)).long()
    states = np.asarray(request_of(model, batch, 1, guided=False).condition.embedding)
    condition = peer.tensor(states).to(peer.transformer.dtype)
    return lambda: peer.network(tokens, TIMESTEP, condition)


if __name__ == "__main__":
    main()
