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
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks._compiled import HEAVIEST, LOOP, OPERATION, compiled, read, write

PROGRAMS = ("prepare", "loop", "decoder", "train")
LANES = 128  # a TPU pads the last axis to a multiple of it
PALLAS_RATE = 0.5  # of a plain product's, assumed
PRODUCT_SIDE = 8192

_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_ESTIMATE = re.compile(r'"estimated_cycles":"(\d+)"')
_NAME = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = ")
_COUNTER = re.compile(r"s32\[\]\S* constant\((\d+)\)")
_ARRAY = re.compile(r"\w+\[([\d,]+)\]")

# Kinds of kernels by the scopes in their operation's name (docs/profiling.md); the first that is found counts.
KINDS = (
    ("attention", r"/attention/"),
    ("attention's projections and norms", r"/(self_attention|cross_attention)/"),
    ("MLP", r"/mlp/"),
    ("truncation", r"/truncation/"),
    ("guidance", r"/guidance/"),
    ("posterior and draw", r"/strategy/"),
    ("logits", r"/logits/"),
    ("optimizer", r"/optimizer/"),
    ("text tower", r"/text_tower/"),
    ("convolutions", r"conv_general_dilated"),
)


@dataclass(frozen=True)
class Kernel:
    """A kernel of a compiled program: its runs in one execution, and cycles or attention's FLOPs of one run."""

    name: str
    operation: str
    runs: int
    cycles: int = 0
    pallas_flops: int = 0

    @property
    def kind(self) -> str:
        if self.pallas_flops:
            return "attention (Pallas)"
        if re.match(r"copy|transpose", self.name):
            return "copies and transposes"
        return next((kind for kind, pattern in KINDS if re.search(pattern, self.operation)), "other")


def kernels_of(text: str) -> list[Kernel]:
    """Return the kernels of an optimised HLO module of a TPU that have an estimate of cycles or are Pallas calls."""
    own, loops, counters = (collections.defaultdict(list) for _ in range(3))
    entry = current = None
    for line in text.splitlines():
        if head := _HEAD.match(line):
            current = head[2]
            entry = current if head[1] else entry
            continue
        operation = match[1] if (match := OPERATION.search(line)) else ""
        if found := _ESTIMATE.search(line):
            own[current].append(Kernel(_NAME.match(line)[1], operation, 1, cycles=int(found[1])))
        elif 'custom_call_target="tpu_custom_call"' in line:
            own[current].append(Kernel(_NAME.match(line)[1], operation, 1, pallas_flops=attention_flops(line)))
        if found := _COUNTER.search(line):
            counters[current].append(int(found[1]))
        loops[current] += [(body, condition) for condition, body in LOOP.findall(line)]
    runs, waiting = collections.Counter({entry: 1}), [entry]
    while waiting:
        caller = waiting.pop()
        for body, condition in loops[caller]:
            # The condition of a counted loop holds one constant; a loop that may end early counts as one turn.
            trips = counters[condition][0] if len(set(counters[condition])) == 1 else 1
            runs[body] += runs[caller] * trips
            waiting.append(body)
    return [replace(kernel, runs=times) for name, times in runs.items() for kernel in own[name]]


def attention_flops(line: str) -> int:
    """Return the FLOPs of a Pallas attention call, (batch, length, heads x width) each, with padded widths and keys.

    Attention is two products, its gradients are five: scores are computed anew.  ``heads`` stands in the kernel's name,
    as ``attention_tpu`` writes it.  Raises ValueError for other Pallas calls.
    """
    named = re.search(r"fused_attention_of_(\d+)_heads", line)
    if named is None:
        raise ValueError(f"a Pallas call without a rule for its FLOPs: {line.strip()[:200]}")
    heads = int(named[1])
    operands = re.search(r"operand_layout_constraints=\{(.*?)\}\}", line)[1]
    (batch, queries, features), (_, keys, _), *_ = (
        [int(side) for side in sides.split(",")] for sides in _ARRAY.findall(operands)
    )
    keys = -(-keys // LANES) * LANES
    width = -(-features // heads // LANES) * LANES
    products = 5 if "gradients_of_fused_attention" in line else 2
    return products * 2 * batch * heads * queries * keys * width


def device_of(topology: str) -> Any:
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # there is no machine to ask about
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # no chip, so that processes need not take turns
    from jax.experimental import topologies

    return topologies.get_topology_desc(platform="tpu", topology_name=topology).devices[0]


def placed(tree: Any, device: Any) -> Any:
    """Return ``tree`` with a ShapeDtypeStruct on ``device`` for every leaf."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import SingleDeviceSharding

    sharding = SingleDeviceSharding(device)

    def spec(leaf):
        leaf = leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(spec, tree)


def programs_of(options: argparse.Namespace, device: Any) -> dict[str, tuple[Any, tuple, float]]:
    """Return function, arguments and the FLOPs that the model needs, by the program's name."""
    import jax
    import jax.numpy as jnp

    from benchmarks._models import random_ids
    from benchmarks._step import request_of
    from vqdiffusion_jax import preset
    from vqdiffusion_jax.config import compute_in
    from vqdiffusion_jax.generation import Condition, advance, prepare, render
    from vqdiffusion_jax.models.shapes import shapes_of
    from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel

    config = preset(options.preset)
    if options.layers:
        config = replace(config, denoiser=replace(config.denoiser, num_layers=options.layers))
    model = placed(
        shapes_of(VQDiffusionModel, config, replace(compute_in(options.dtype), attention=options.attention)), device
    )
    request = request_of(model, options.batch, options.steps, guided=config.denoiser.condition != "none")
    if config.denoiser.condition == "text":
        ids = jnp.asarray(random_ids(config, options.batch))
        request = replace(request, condition=Condition(ids=ids), null=Condition(ids=ids))
    request = placed(request, device)
    prepared = placed(jax.eval_shape(prepare, model, request), device)
    tokens = request.start

    def decode(model, tokens):
        return render(model, tokens, "uint8", "truncate")

    programs = {
        "prepare": (prepare, (model, request)),
        "loop": (advance, (model, prepared, request)),
        "decoder": (decode, (model, tokens)),
    }
    if "train" in options.programs:
        programs["train"] = train_program(options, config, device)
    return {name: programs[name] for name in options.programs}


def train_program(options: argparse.Namespace, config: Any, device: Any) -> tuple[Any, tuple]:
    """Return the train step on cached tokens, on a mesh of one device."""
    import jax
    import numpy as np
    from jax.sharding import AxisType, Mesh, NamedSharding

    from vqdiffusion_jax.config import ComputeConfig
    from vqdiffusion_jax.models.clip import CLIPTextEncoder
    from vqdiffusion_jax.models.shapes import shapes_of
    from vqdiffusion_jax.sharding import AXES, ShardingRules, shardings
    from vqdiffusion_jax.training.denoiser.config import TrainConfig
    from vqdiffusion_jax.training.denoiser.state import abstract_state
    from vqdiffusion_jax.training.denoiser.step import Frozen, make_step

    mesh = Mesh(np.array([device]).reshape(1, 1, 1), AXES, axis_types=(AxisType.Auto,) * 3)
    compute = ComputeConfig(dtype=options.dtype, remat=True, attention=options.attention)
    training = TrainConfig(model=config, batch_size=options.batch, steps=1, compute=compute)
    denoiser, split = config.denoiser, NamedSharding(mesh, ShardingRules().batch)

    def spread(shape, dtype):
        return jax.ShapeDtypeStruct((options.batch, *shape), dtype, sharding=split)

    batch, tower = {"tokens": spread((denoiser.num_tokens,), "int32")}, None
    if denoiser.condition == "class":
        batch["labels"] = spread((), "int32")
    if denoiser.condition == "text":
        batch["text_ids"] = spread((denoiser.condition_length,), "int32")
        batch["text_mask"] = spread((denoiser.condition_length,), "bool")
        shapes = shapes_of(CLIPTextEncoder, config.text_encoder, ComputeConfig())
        tower = jax.tree.map(
            lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where),
            shapes,
            shardings(shapes, mesh),
        )
    return make_step(training, mesh), (abstract_state(training, mesh), batch, Frozen(text_encoder=tower))


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
    device = device_of(options.topology)
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
