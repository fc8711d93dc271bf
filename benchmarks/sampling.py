"""Guided, truncated denoising steps (--steps of them in one program) beside diffusers with the same weights.

    python -m benchmarks.sampling [--models coco_cf,ithq] [--batches 1,4] [--steps 1] [--layers 2]

Two network evaluations, guidance, truncation, posterior and draw.  Our keys and values of the prompt and our AdaLN
tables are made before, once a picture; diffusers makes its own in every step.  ``--models emoji --steps 100``
times a whole run of the embedded model's shape.
"""

from __future__ import annotations

import numpy as np

from benchmarks._measure import alternate, arguments, finish_beside_matmul, matmul_ceiling, rows_of
from benchmarks._models import config_of, peer_of, random_model
from benchmarks._step import RATE, SCALE, compiled_steps, request_of
from vqdiffusion_jax.flops import denoiser_flops


def main() -> None:
    parser = arguments(__doc__, "sampling")
    parser.add_argument("--models", default="coco_cf,ithq")
    parser.add_argument("--batches", default="1,4")
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument(
        "--compiled", action="store_true", help="the peer also through torch.compile, as always on a GPU"
    )
    options = parser.parse_args()
    ceiling, rows, notes = matmul_ceiling(options.dtype), [], {}
    for name in options.models.split(","):
        config = config_of(name, options.layers)
        model = random_model(config, options.dtype)
        peer = peer_of(model, options.dtype)
        for batch in map(int, options.batches.split(",")):
            request = request_of(model, batch, options.steps)
            contestants = {"ours": compiled_steps(model, request)}
            if isinstance(peer, str):
                notes[name] = peer
            else:
                # A peer compiled for one batch is compiled anew, not loosened, for the next.
                peer.torch.compiler.reset()
                variants = peer.variants(options.dtype, options.compiled or peer.device == "cuda")
                contestants |= {setting: _peer_steps(variant, request) for setting, variant in variants.items()}
            flops = 2 * batch * options.steps * denoiser_flops(config.denoiser)
            facts = {
                "batch": batch,
                "steps": options.steps,
                "layers": config.denoiser.num_layers,
                "dtype": options.dtype,
            }
            rows += rows_of(f"{name} x {batch}", alternate(contestants, options.repeats), flops=flops, **facts)
    finish_beside_matmul("sampling", rows, options, ceiling, missing=notes)


def _peer_steps(peer, request):
    null, text = (np.asarray(condition.embedding) for condition in (request.null, request.condition))
    condition = peer.tensor(np.concatenate([null, text])).to(peer.transformer.dtype)
    start = peer.tensor(request.start).long()

    def run():
        tokens = start
        for timestep in request.plan.timestep:
            tokens = peer.step(tokens, int(timestep), condition, SCALE, RATE)

    return run


if __name__ == "__main__":
    main()
