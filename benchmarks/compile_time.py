"""Time to trace and compile a whole sampler: text states, 100 guided and truncated calls and decoder in one program.

    python -m benchmarks.compile_time [--models emoji,imagenet_cf,coco_cf,ithq]

No weights are made.  The layers are scanned, as by default; the limit for ITHQ is 60 seconds on two cores.
"""

from __future__ import annotations

import time

import jax

from benchmarks._measure import arguments, finish
from benchmarks._models import config_of
from benchmarks._step import request_of
from vqdiffusion_jax.config import compute_in
from vqdiffusion_jax.generation import generate
from vqdiffusion_jax.models.shapes import shapes_of
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel


def main() -> None:
    parser = arguments(__doc__, "compile_time")
    parser.add_argument("--models", default="emoji,imagenet_cf,coco_cf,ithq")
    options = parser.parse_args()
    jax.config.update("jax_enable_compilation_cache", False)
    rows = []
    for name in options.models.split(","):
        config = config_of(name, options.layers)
        compute = compute_in(options.dtype)
        model = shapes_of(VQDiffusionModel, config, compute)
        model = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), model)
        request = request_of(model, 1, config.denoiser.num_timesteps)
        begun = time.perf_counter()
        lowered = generate.lower(model, request)
        traced = time.perf_counter()
        lowered.compile()
        parts = {"trace": traced - begun, "compile": time.perf_counter() - traced}
        for part, seconds in (parts | {"both": sum(parts.values())}).items():
            rows.append(
                {"name": name, "contestant": part, "median_ms": seconds * 1e3, "layers": config.denoiser.num_layers}
            )
        print(f"{name}: {sum(parts.values()):.1f} s", flush=True)
    finish("compile_time", rows, options.out)


if __name__ == "__main__":
    main()
