"""Run by test_tpu_programs.py in a process of its own: compiles small models by the TPU's compiler, a file a program.

python -m tests.tpu_programs FOLDER
"""

import sys
from dataclasses import replace
from pathlib import Path

from benchmarks._compiled import compiled
from benchmarks._train_program import denoiser_step, mesh_of, vqgan_step
from benchmarks.accelerators import model_and_request, placed, sampler_programs
from vqdiffusion_jax import preset
from vqdiffusion_jax.config import ComputeConfig, compute_in
from vqdiffusion_jax.targets import target_of

TOPOLOGY = "v5e:2x2"
BATCH, STEPS, LAYERS = 8, 4, 3


def small(name):
    """Return a tiny preset, large enough for the fused attention: 256 tokens, and 128 features on two heads."""
    config = preset(name)
    denoiser = replace(
        config.denoiser, grid=(16, 16), position_grid=(16, 16), width=128, num_heads=2, num_layers=LAYERS
    )
    return replace(config, denoiser=denoiser, codec=replace(config.codec, image_size=64))


def whole_run(config, devices):
    """Return a whole guided run, tokens and pixels, on devices that have samples of their own and all weights."""
    from jax.sharding import NamedSharding, PartitionSpec

    from vqdiffusion_jax.generation import _generate
    from vqdiffusion_jax.sharding import batch_sharding, on_mesh

    mesh = mesh_of(devices, (len(devices), 1, 1))
    everywhere, split = NamedSharding(mesh, PartitionSpec()), batch_sharding(mesh, BATCH)
    model, request = model_and_request(config, compute_in("bfloat16"), BATCH, STEPS)
    rows = {name: placed(getattr(request, name), split) for name in ("condition", "null", "noise", "start")}
    return on_mesh(_generate, mesh), (placed(model, everywhere), replace(placed(request, everywhere), **rows))


def programs():
    devices = target_of(TOPOLOGY).devices
    text = small("tiny_text")
    yield from sampler_programs(text, compute_in("bfloat16"), devices[0], BATCH, STEPS).items()
    yield "data_parallel", whole_run(text, devices)
    yield "of_classes", whole_run(small("tiny_class"), devices[:1])
    compute = ComputeConfig(dtype="bfloat16", remat=True)
    yield "train", denoiser_step(text, compute, mesh_of(devices, (1, len(devices), 1)), BATCH)
    yield "train_codec", vqgan_step(text.codec, compute, mesh_of(devices, (len(devices), 1, 1)), BATCH)


def main() -> None:
    folder = Path(sys.argv[1])
    for name, (function, given) in programs():
        (folder / f"{name}.hlo").write_text(compiled(function, given, "tpu").as_text())
        print(name, flush=True)


if __name__ == "__main__":
    main()
