"""The train step of a preset on meshes of TPUs that are not here: memory a chip, what chips exchange, predicted MFU.

    pip install vqdiffusion-jax[accelerators]
    python -m benchmarks.scaling_plan --topology=v5e:4x4 --mesh=1,16,1 --out=docs/results/scaling_plan.md

The step is compiled by the TPU's own compiler, from shapes alone: no chip is there, no weight is made, nothing runs.
What the scheduled program says is read: collectives, each as often as the loops around it turn, and the cycles of the
kernels that stand between the start and the end of each.  Seconds and MFU are predictions: cycles are the compiler's
estimate, converted by what it expects of a plain product that is taken to run at the chip's peak; Pallas kernels are
counted as ``benchmarks.accelerators`` does, and a collective that nothing hides at the bandwidth between chips.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks._collectives import KINDS, Collective, collectives_of
from benchmarks._compiled import read
from benchmarks._tpu_program import kernels_of
from benchmarks.accelerators import PALLAS_RATE, product_rate
from vqdiffusion_jax.targets import MEMORY

GIB, MIB = 2**30, 2**20


@dataclass(frozen=True)
class Chip:
    """Public figures of a chip: bfloat16 FLOP/s, bytes a second to other chips, all links together."""

    peak: float
    links: float


CHIPS = {
    "v5e": Chip(197e12, 200e9),
    "v5p": Chip(459e12, 600e9),
    "v6e": Chip(918e12, 448e9),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--topology", default="v5e:4x4", help="a generation and its shape: v5e:4x4, v5p:4x4x4, ...")
    parser.add_argument("--mesh", default="1,-1,1", help="data,fsdp,tensor; one may be -1: what is left")
    parser.add_argument("--preset", default="ithq")
    parser.add_argument("--samples_per_shard", type=int, default=8, help="samples a device along data and fsdp")
    parser.add_argument("--layers", type=int, default=None, help="fewer layers, for a trial")
    parser.add_argument("--compiler_options", default="", help="NAME=VALUE,... for the TPU's compiler")
    parser.add_argument("--keep_text", type=Path, default=None, help="folder for the optimised program")
    parser.add_argument("--out", type=Path, default=None, help="append the page to this file")
    return parser.parse_args()


def main() -> None:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    options = arguments()
    page = "\n".join(plan(options))
    print(page)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        told = [word for word in sys.argv[1:] if not word.startswith(("--out", "--keep_text"))]
        with options.out.open("a") as file:
            file.write(f"`python -m benchmarks.scaling_plan {' '.join(told)}`\n\n{page}\n\n")


def plan(options: argparse.Namespace) -> list[str]:
    import jax

    from benchmarks._train_program import denoiser_step, mesh_of
    from vqdiffusion_jax.config import ComputeConfig
    from vqdiffusion_jax.flops import denoiser_flops
    from vqdiffusion_jax.presets import preset
    from vqdiffusion_jax.targets import target_of

    devices = target_of(options.topology).devices
    sizes = [int(size) for size in options.mesh.split(",")]
    if -1 in sizes:
        known = -sizes[0] * sizes[1] * sizes[2]
        sizes[sizes.index(-1)] = len(devices) // known
    config = preset(options.preset)
    if options.layers:
        config = replace(config, denoiser=replace(config.denoiser, num_layers=options.layers))
    mesh, batch = mesh_of(devices, tuple(sizes)), options.samples_per_shard * sizes[0] * sizes[1]
    function, given = denoiser_step(config, ComputeConfig(dtype="bfloat16", remat=True), mesh, batch)
    named = dict(pair.split("=") for pair in options.compiler_options.split(",") if pair)
    text, program, row = read("train", function, given, "tpu", options.keep_text, named)
    generation = options.topology.split(":")[0]
    rate, chip = product_rate(devices[0], "bfloat16"), CHIPS[generation]
    kernels, found = kernels_of(text), collectives_of(text)
    pallas = sum(kernel.runs * kernel.pallas_flops for kernel in kernels) / (PALLAS_RATE * rate)
    cycles = sum(kernel.runs * kernel.cycles for kernel in kernels) + pallas
    model = 3 * denoiser_flops(config.denoiser) * batch / len(devices)
    computing = cycles * rate / chip.peak
    # What is summed travels twice: once to be added up, once back.
    waiting = sum(one.runs * one.size * (1 + (one.kind == "all-reduce")) for one in found if not one.hidden)
    waiting /= chip.links
    held, temporary = row["argument_bytes"], row["temporary_bytes"]
    state = given[0]
    one_layer = (
        sum(leaf.size for leaf in jax.tree.leaves(state.trained.denoiser.blocks)) * 4 / config.denoiser.num_layers
    )
    largest = max((one.largest for one in found if one.kind == "all-gather"), default=0)
    return [
        f"## {options.preset}, {config.denoiser.num_layers} layers, {options.topology}: {len(devices)} chips, "
        f"data x fsdp x tensor = {'x'.join(map(str, sizes))}",
        "",
        f"{batch} samples a step ({options.samples_per_shard} a device along data and fsdp), bfloat16 compute, "
        f"rematerialised layers; compiled in {row['compile_cpu_seconds']:.0f} s of processor time.",
        "",
        f"A chip holds {held / GIB:.2f} GiB of parameters, average and moments, and {temporary / GIB:.2f} GiB of "
        f"temporaries, of {MEMORY[generation] / GIB:.0f}.",
        "",
        *table(found),
        "",
        f"The largest all-gather makes {largest / MIB:.1f} MiB; a layer's parameters are {one_layer / MIB:.1f} MiB in "
        "float32.",
        "",
        f"Predicted: {cycles:.3g} cycles, {computing:.3f} s of computing and {waiting:.3f} s of waiting for others "
        f"a step; {model / 1e12:.1f} TFLOP of the model's a chip: MFU {model / (computing + waiting) / chip.peak:.1%}.",
    ]


def table(found: list[Collective]) -> list[str]:
    """Return the rows of what is exchanged, by kind and by whether kernels are scheduled meanwhile."""
    lines = [
        "| collective | under way while kernels run | in the program | a step | GiB a step | largest, MiB |",
        "|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        for hidden in (True, False):
            mine = [one for one in found if (one.kind, one.hidden) == (kind, hidden)]
            if mine:
                runs, moved = sum(one.runs for one in mine), sum(one.runs * one.size for one in mine)
                largest = max(one.largest for one in mine)
                lines.append(
                    f"| {kind} | {'yes' if hidden else 'no'} | {len(mine)} | {runs} | {moved / GIB:.2f} | "
                    f"{largest / MIB:.1f} |"
                )
    return lines


if __name__ == "__main__":
    main()
