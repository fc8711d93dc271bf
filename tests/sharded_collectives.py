"""Run by test_fsdp.py in a process that sees 8 devices: prints what the compiled sampler sends between them."""

import json
import re

import jax
import numpy as np
from flax import nnx

import vqdiffusion_jax.pipeline as pipeline_module
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.sharding import make_mesh, shard

BATCH = 40  # a number that no axis of a parameter has
_COLLECTIVE = re.compile(r"= (\S.*?) (all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)(?:-start)?\(")


class Compiled(Exception):
    pass


def collectives(model, mesh, **condition) -> list[tuple[str, str, list[int]]]:
    """Return (operation, dtype, shape) of everything sent in one guided call."""
    drawn = pipeline_module.generate

    def compile_only(*args, **options):
        raise Compiled(drawn.lower(*args, **options).compile().as_text())

    pipeline_module.generate = compile_only
    try:
        VQDiffusionPipeline(shard(model, mesh), mesh=mesh)(
            **condition, batch_size=BATCH, truncation_rate=0.9, guidance_scale=3.0
        )
    except Compiled as compiled:
        text = str(compiled)
    finally:
        pipeline_module.generate = drawn
    return [
        (operation, dtype, [int(size) for size in sizes.split(",") if size])
        for result, operation in _COLLECTIVE.findall(text)
        for dtype, sizes in re.findall(r"(\w+)\[([\d,]*)\]", result)
    ]


def main() -> None:
    report = {"devices": jax.device_count()}
    for kind, condition in (
        ("tiny_text", {"prompt": ["a dog"] * BATCH}),
        ("tiny_class", {"class_labels": [1] * BATCH}),
    ):
        model = VQDiffusionModel(preset(kind), rngs=nnx.Rngs(0))
        report[kind] = {
            "fsdp": collectives(model, make_mesh(data=1, fsdp=8), **condition),
            "data": collectives(model, make_mesh(data=8), **condition),
        }
    # Three pictures on eight devices, in one batch filled up to eight.
    alone = VQDiffusionPipeline(model)
    spread = VQDiffusionPipeline(shard(model, mesh := make_mesh(data=2, fsdp=4)), mesh=mesh)
    shown = {"class_labels": [0, 1, 2], "output_type": "uint8"}
    first, second = alone(**shown), spread(**shown)
    report["together"] = spread.pictures_together(3)
    report["same tokens"] = bool(np.array_equal(first.tokens, second.tokens))
    report["same codes"] = bool(np.array_equal(alone.encode(first.images), spread.encode(first.images)))
    report["pixels apart"] = int(np.abs(alone.decode(first.tokens).astype(int) - spread.decode(first.tokens)).max())
    print(json.dumps(report))


if __name__ == "__main__":
    main()
