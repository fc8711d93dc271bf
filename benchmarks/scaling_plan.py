"""The cost of the ITHQ-large train step on meshes that are not here: memory a device, collectives and bytes a step.

    python -m benchmarks.scaling_plan --devices=8
    python -m benchmarks.scaling_plan --devices=64 --out=docs/results/scaling_plan.md

The step is compiled ahead of time for simulated devices, from shapes alone; no
weight is ever made.  Collectives inside the loop over layers count once a layer.
XLA's CPU compiler does the partitioning here: which collectives there are and
how large their operands are is the partitioner's work and carries over, while how they are
fused and scheduled, and the memory of temporaries, are the CPU's.
"""

from __future__ import annotations

import argparse
import collections
import os
import re
import sys
import time
from pathlib import Path

from vqdiffusion_jax.models.shapes import shapes_of

WIDTH = {"f64": 8, "s64": 8, "u64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2, "s8": 1, "u8": 1, "pred": 1}
KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_RESULT = re.compile(r"= (.+?) (" + "|".join(KINDS) + r")(?:-start)?\(")
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--mesh", default=None, help="data,fsdp,tensor; default: fsdp of 8, data of the rest")
    parser.add_argument("--preset", default="ithq")
    parser.add_argument("--samples_per_device", type=int, default=8)
    parser.add_argument("--layers", type=int, default=None, help="fewer layers, to compile the same program sooner")
    parser.add_argument("--out", default=None, help="append the table to this file")
    return parser.parse_args()


def loop_trips(text: str) -> dict[str, int]:
    """Return how often each computation of an HLO module runs in one execution, from the trip counts that XLA knows."""
    calls, current = collections.defaultdict(list), None
    for line in text.splitlines():
        if head := re.match(r"^(ENTRY )?%?([\w.\-]+) .*\{$", line):
            current = head[2]
            if head[1]:
                entry = current
        elif current:
            trips = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', line)
            for kind, name in re.findall(
                r"(body|to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)", line
            ):
                calls[current].append((name, int(trips[1]) if kind == "body" and trips else 1))
            for names in re.findall(r"branch_computations=\{([^}]*)\}", line):
                calls[current] += [(name.strip().lstrip("%"), 1) for name in names.split(",")]
    runs, waiting = collections.Counter({entry: 1}), [(entry, 1)]
    while waiting:
        name, times = waiting.pop()
        for callee, trips in calls[name]:
            runs[callee] += times * trips
            waiting.append((callee, times * trips))
    return runs


def collectives(text: str) -> list[tuple[str, int, int, int, str]]:
    """(kind, runs a step, bytes of the largest result array, bytes of all results, computation) of every collective."""
    runs, found, current = loop_trips(text), [], None
    for line in text.splitlines():
        if head := re.match(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$", line):
            current = head[1]
        elif match := _RESULT.search(line):
            sizes = [size_of(kind, shape) for kind, shape in _ARRAY.findall(match[1])]
            found.append((match[2], runs[current], max(sizes), sum(sizes), current))
    return found


def size_of(kind: str, shape: str) -> int:
    size = WIDTH.get(kind, 4)
    for side in filter(None, shape.split(",")):
        size *= int(side)
    return size


def main() -> None:
    options = arguments()
    os.environ["XLA_FLAGS"] = (
        f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={options.devices}"
    )
    os.environ["JAX_PLATFORMS"] = "cpu"
    lines = plan(options)
    print("\n".join(lines))
    if options.out:
        path = Path(options.out)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(f"`python -m benchmarks.scaling_plan {' '.join(sys.argv[1:])}`\n\n" + "\n".join(lines) + "\n\n")


def plan(options: argparse.Namespace) -> list[str]:
    import dataclasses

    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding

    from vqdiffusion_jax.config import ComputeConfig
    from vqdiffusion_jax.paths import leaves_by_path
    from vqdiffusion_jax.presets import preset
    from vqdiffusion_jax.sharding import ShardingRules, make_mesh
    from vqdiffusion_jax.training.denoiser.config import TrainConfig
    from vqdiffusion_jax.training.denoiser.state import abstract_state
    from vqdiffusion_jax.training.denoiser.step import Frozen, make_step

    fsdp = min(8, options.devices)
    sizes = [int(size) for size in options.mesh.split(",")] if options.mesh else [options.devices // fsdp, fsdp, 1]
    model = preset(options.preset)
    if options.layers:
        model = dataclasses.replace(model, denoiser=dataclasses.replace(model.denoiser, num_layers=options.layers))
    mesh = make_mesh(*sizes)
    compute = ComputeConfig(dtype="bfloat16", remat=True, attention="xla")
    shards = sizes[0] * sizes[1]
    config = TrainConfig(model=model, batch_size=options.samples_per_device * shards, steps=1, compute=compute)
    state = abstract_state(config, mesh)
    denoiser = model.denoiser
    placed = NamedSharding(mesh, ShardingRules().batch)

    def spread(shape, dtype):
        return jax.ShapeDtypeStruct((config.batch_size, *shape), dtype, sharding=placed)

    batch, text_encoder = {"tokens": spread((denoiser.num_tokens,), jnp.int32)}, None
    if denoiser.condition == "class":
        batch["labels"] = spread((), jnp.int32)
    if denoiser.condition == "text":
        from vqdiffusion_jax.models.clip import CLIPTextEncoder
        from vqdiffusion_jax.sharding import shardings

        batch["text_ids"] = spread((denoiser.condition_length,), jnp.int32)
        batch["text_mask"] = spread((denoiser.condition_length,), jnp.bool_)
        tower = shapes_of(CLIPTextEncoder, model.text_encoder, ComputeConfig(attention="xla"))
        text_encoder = jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            tower,
            shardings(tower, mesh),
        )
    started = time.perf_counter()
    compiled = make_step(config, mesh).lower(state, batch, Frozen(text_encoder=text_encoder)).compile()
    seconds = time.perf_counter() - started

    def held(tree):  # bytes on one device
        return sum(
            jnp.dtype(leaf.dtype).itemsize * int(jnp.prod(jnp.array(leaf.sharding.shard_shape(leaf.shape) or (1,))))
            for leaf in jax.tree.leaves(tree)
            if not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        )

    def total(tree):
        return sum(leaf.size * 4 for leaf in jax.tree.leaves(tree))

    moments = state.optimizer[1].mu
    blocks = leaves_by_path(state.trained.denoiser.blocks)
    layer = sum(leaf.size for leaf in blocks.values()) // denoiser.num_layers * 4
    largest_part = max((leaf.size * 4 // denoiser.num_layers, path) for path, leaf in blocks.items())
    found = collectives(compiled.as_text())
    memory = compiled.memory_analysis()
    gib = 2**30
    lines = [
        f"## {options.preset}, {denoiser.num_layers} layers, {options.devices} devices: data x fsdp x tensor = "
        f"{'x'.join(map(str, sizes))}",
        "",
        f"{config.batch_size} samples a step ({options.samples_per_device} a device along data and fsdp), bfloat16 "
        f"compute, rematerialised layers; compiled in {seconds:.0f} s.",
        "",
        "| a device holds | GiB | of |",
        "|---|---|---|",
        f"| parameters | {held(state.trained) / gib:.3f} | {total(state.trained) / gib:.3f} |",
        f"| average (EMA) | {held(state.ema) / gib:.3f} | {total(state.ema) / gib:.3f} |",
        f"| optimizer moments | {2 * held(moments) / gib:.3f} | {2 * total(moments) / gib:.3f} |",
        f"| all arguments | {memory.argument_size_in_bytes / gib:.3f} | |",
        f"| temporaries (CPU's schedule) | {memory.temp_size_in_bytes / gib:.3f} | |",
        "",
        "| collective | in the program | a step | GiB a step | largest, MiB |",
        "|---|---|---|---|---|",
    ]
    for kind in KINDS:
        mine = [item for item in found if item[0] == kind]
        if mine:
            lines.append(
                f"| {kind} | {len(mine)} | {sum(item[1] for item in mine)} | "
                f"{sum(item[1] * item[3] for item in mine) / gib:.2f} | {max(item[2] for item in mine) / 2**20:.1f} |"
            )
    gathers = [item[2] for item in found if item[0] == "all-gather"]
    lines += [
        "",
        f"One layer's parameters take {layer / 2**20:.1f} MiB in float32, the largest of them ({largest_part[1]}) "
        f"{largest_part[0] / 2**20:.1f} MiB; the largest all-gather moves {max(gathers, default=0) / 2**20:.1f} MiB: "
        + ("never more than a layer." if max(gathers, default=0) <= layer else "MORE than a layer."),
    ]
    return lines


if __name__ == "__main__":
    main()
