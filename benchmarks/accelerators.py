"""The programs of a preset, compiled by the TPU's own compiler on a machine without a TPU: memory, code, cycles.

    pip install vqdiffusion-jax[accelerators]
    python -m benchmarks.accelerators --preset=ithq --topology=v6e:2x2 --out=docs/results/accelerators/ithq-v6e

Nothing runs and no weight is made: programs are compiled from shapes for the topology's first device, and the compiled
text is read.  Cycles are the compiler's estimate of each kernel, loops counted by their trips; they are a model, not a
measurement, and are compared with what the same model says of a plain product of matrices on the same chip.

A Pallas kernel carries no estimate.  It is counted here by the FLOPs of its attention, head widths and keys padded to
multiples of 128, at half the rate of a plain product; its gradients are five products where attention is two.
"""

from __future__ import annotations

import argparse
import collections
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks._compiled import HEAVIEST, compiled, read, write
from benchmarks._tpu_program import kernels_of

PROGRAMS = ("prepare", "loop", "decoder", "encoder", "train", "codec_train")
PALLAS_RATE = 0.5  # of a plain product's, assumed
PRODUCT_SIDE = 8192


def placed(tree: Any, device: Any) -> Any:
    """Return ``tree`` with a ShapeDtypeStruct for every leaf, on ``device``: a device, or a sharding over several."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import Sharding, SingleDeviceSharding

    sharding = device if isinstance(device, Sharding) else SingleDeviceSharding(device)

    def spec(leaf):
        leaf = leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(spec, tree)


def programs_of(options: argparse.Namespace, device: Any) -> dict[str, tuple[Any, tuple]]:
    """Return function and arguments by the program's name, for the preset that the options name."""
    from benchmarks._train_program import denoiser_step, mesh_of, vqgan_step
    from vqdiffusion_jax import preset
    from vqdiffusion_jax.config import ComputeConfig, compute_in

    config, mesh = preset(options.preset), mesh_of([device], (1, 1, 1))
    if options.layers:
        config = replace(config, denoiser=replace(config.denoiser, num_layers=options.layers))
    compute = replace(compute_in(options.dtype), attention=options.attention, scan_layers=not options.unroll)
    programs = sampler_programs(config, compute, device, options.batch, options.steps)
    if "train" in options.programs:
        compute = ComputeConfig(dtype=options.dtype, remat=True, attention=options.attention)
        programs["train"] = denoiser_step(config, compute, mesh, options.batch)
    if "codec_train" in options.programs:
        programs["codec_train"] = vqgan_step(config.codec, ComputeConfig(dtype=options.dtype), mesh, options.batch)
    return {name: programs[name] for name in options.programs}


def sampler_programs(config: Any, compute: Any, device: Any, batch: int, steps: int) -> dict[str, tuple[Any, tuple]]:
    """Return the pieces of a guided and truncated run on one device, and the codec's other half, by name.

    Each is a function and its arguments.
    """
    import jax

    from vqdiffusion_jax.generation import advance, prepare, render
    from vqdiffusion_jax.models.vqgan import encode_exactly, images_to_float

    model, request = model_and_request(config, compute, batch, steps)
    model, request = placed(model, device), placed(request, device)
    prepared = placed(jax.eval_shape(prepare, model, request), device)

    def decode(model, tokens):
        return render(model, tokens, "uint8", "truncate")

    def encode(model, pictures):
        return encode_exactly(model.codec, images_to_float(pictures))

    codec = config.codec
    pictures = jax.ShapeDtypeStruct((batch, codec.image_size, codec.image_size, codec.image_channels), "uint8")
    return {
        "prepare": (prepare, (model, request)),
        "loop": (advance, (model, prepared, request)),
        "decoder": (decode, (model, request.start)),
        "encoder": (encode, (model, placed(pictures, device))),
    }


def model_and_request(config: Any, compute: Any, batch: int, steps: int) -> tuple[Any, Any]:
    """Return a model's shapes, and a guided and truncated request for it."""
    import jax.numpy as jnp

    from benchmarks._models import random_ids
    from benchmarks._step import request_of
    from vqdiffusion_jax.generation import Condition
    from vqdiffusion_jax.models.shapes import shapes_of
    from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel

    model = shapes_of(VQDiffusionModel, config, compute)
    request = request_of(model, batch, steps, guided=config.denoiser.condition != "none")
    if config.denoiser.condition == "text":
        ids = jnp.asarray(random_ids(config, batch))
        request = replace(request, condition=Condition(ids=ids), null=Condition(ids=ids))
    return model, request


def product_rate(device: Any, dtype: str) -> float:
    """Return the FLOPs a cycle of a plain product of square matrices, by the compiler's estimate."""
    import jax
    import jax.numpy as jnp

    spec = placed(jax.ShapeDtypeStruct((PRODUCT_SIDE, PRODUCT_SIDE), dtype), device)
    program = compiled(jnp.matmul, (spec, spec), "tpu")
    return 2 * PRODUCT_SIDE**3 / sum(kernel.runs * kernel.cycles for kernel in kernels_of(program.as_text()))


def measure(name: str, function: Any, arguments: tuple, rate: float, keep_text: Path | None) -> dict[str, Any]:
    """Compile a program and return its row."""
    text, program, row = read(name, function, arguments, "tpu", keep_text)
    kinds: collections.Counter[str] = collections.Counter()
    kernels = kernels_of(text)
    for kernel in kernels:
        kinds[kernel.kind] += kernel.runs * (kernel.cycles + math.ceil(kernel.pallas_flops / (PALLAS_RATE * rate)))
    heaviest = sorted(kernels, key=lambda kernel: kernel.runs * kernel.cycles, reverse=True)[:HEAVIEST]
    return row | {
        "code_bytes": program.memory_analysis().generated_code_size_in_bytes,
        "flops": (program.cost_analysis() or {}).get("flops"),  # a loop's body counts once
        "cycles": sum(kinds.values()),
        "cycles_by_kind": dict(kinds.most_common()),
        "heaviest": [
            {"cycles": kernel.runs * kernel.cycles, "runs": kernel.runs, "operation": kernel.operation or kernel.name}
            for kernel in heaviest
        ],
    }


def model_flops(name: str, options: argparse.Namespace) -> float | None:
    """Return the FLOPs that the denoiser's own products need in a program, or None for a program of other parts."""
    from vqdiffusion_jax import preset
    from vqdiffusion_jax.flops import denoiser_flops

    denoiser = preset(options.preset).denoiser
    if options.layers:
        denoiser = replace(denoiser, num_layers=options.layers)
    guided = 1 if denoiser.condition == "none" else 2
    one = denoiser_flops(denoiser)
    return {"loop": one * guided * options.batch * options.steps, "train": 3 * one * options.batch}.get(name)


def table(rows: list[dict[str, Any]], rate: float, options: argparse.Namespace) -> str:
    lines = [
        f"{options.preset} on {options.topology}, batch {options.batch}, {options.dtype}, {options.steps} calls, "
        f"guided and truncated.  A plain product of {PRODUCT_SIDE}^3 takes a cycle for {rate:,.0f} "
        "FLOP by the compiler's estimate.",
        "",
        "| program | compile, s | arguments, GiB | temporaries, GiB | code, MiB | cycles | of a product's rate |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        share = f"{row['share_of_product']:.1%}" if row.get("share_of_product") else ""
        lines.append(
            f"| {row['program']} | {row['compile_seconds']:.0f} | {row['argument_bytes'] / 2**30:.2f} | "
            f"{row['temporary_bytes'] / 2**30:.2f} | {row['code_bytes'] / 2**20:.1f} | {row['cycles']:.3g} | {share} |"
        )
    for row in rows:
        shares = (f"{kind} {count / max(row['cycles'], 1):.0%}" for kind, count in row["cycles_by_kind"].items())
        lines += ["", f"Cycles of {row['program']}: {', '.join(shares)}."]
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="ithq")
    parser.add_argument("--topology", default="v6e:2x2", help="also v5e:2x2, v5p:2x2x1, h100")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--layers", type=int, default=None, help="fewer layers, to compile sooner")
    parser.add_argument("--attention", default="auto", help="xla: without the Pallas kernel")
    parser.add_argument("--unroll", action="store_true", help="samplers with their layers unrolled, weights apart")
    parser.add_argument("--programs", default="prepare,loop,decoder", help=f"some of {','.join(PROGRAMS)}")
    parser.add_argument("--out", type=Path, default=None, help="write OUT.json and OUT.md")
    parser.add_argument("--keep_text", type=Path, default=None, help="folder for the programs' optimised HLO")
    options = parser.parse_args()
    options.programs = options.programs.split(",")
    return options


def main() -> None:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    options = arguments()
    if options.topology == "h100":
        from benchmarks import _h100

        return _h100.report(options)
    from vqdiffusion_jax.targets import target_of  # JAX reads the environment when it is imported

    device = target_of(options.topology).devices[0]
    rate, rows = product_rate(device, options.dtype), []
    for name, (function, given) in programs_of(options, device).items():
        row = measure(name, function, given, rate, options.keep_text)
        if flops := model_flops(name, options):
            row |= {"model_flops": flops, "share_of_product": flops / row["cycles"] / rate}
        rows.append(row)
        print(table([row], rate, options), flush=True)
    record = {"device": device.device_kind, "product_flops_a_cycle": rate, "rows": rows}
    write(record, table(rows, rate, options), options)


if __name__ == "__main__":
    main()
