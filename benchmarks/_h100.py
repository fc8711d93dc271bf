"""A preset's programs, compiled for an H100 on a machine without a GPU: bytes, FLOPs and a roofline's prediction."""

from __future__ import annotations

import argparse
import collections
import re
from pathlib import Path
from typing import Any

from benchmarks._compiled import HEAVIEST, read, write
from benchmarks._gpu_program import Kernel, kernels_of, stack_copies
from vqdiffusion_jax.targets import target_of

BANDWIDTH, RATE = 3.35e12, 989e12  # bytes a second, and dense bfloat16 FLOPs a second: NVIDIA's data sheet (SXM)
LEAST_COPY = 2**20  # bytes


def floor(kernels: list[Kernel]) -> int:
    """Return the bytes that must move if all else were fused into products, attention and convolutions.

    Each of these reads its operands and writes its results once; logits are read once more, by the draw.
    """
    multiply = [kernel for kernel in kernels if kernel.flops]
    logits = [kernel for kernel in multiply if "/logits/" in kernel.operation]
    return sum(kernel.bytes_moved for kernel in multiply) + sum(kernel.runs * kernel.written for kernel in logits)


def predicted_seconds(kernels: list[Kernel]) -> float:
    """Return the seconds of a roofline, kernel after kernel: launches, caches and small sizes cost nothing in it."""
    return sum(one.runs * max((one.read + one.written) / BANDWIDTH, one.flops / RATE) for one in kernels)


def kind(kernel: Kernel) -> str:
    """Return what a kernel is, for the table of bytes."""
    if kernel in stack_copies([kernel], 0):
        return "copies and slices"
    named = (("fmha", "attention"), ("conv", "convolutions"), ("cublas", "products"))
    if found := next((kind for part, kind in named if part in kernel.target), None):
        return found
    scopes = ("truncation", "guidance", "strategy", "attention", "mlp", "logits", "optimizer")
    return next((f"{scope}: passes" for scope in scopes if re.search(f"{scope}/", kernel.operation)), "other")


def measure(name: str, function: Any, arguments: tuple, keep_text: Path | None) -> dict[str, Any]:
    """Compile a program and return its row."""
    text, _, row = read(name, function, arguments, "cuda", keep_text)
    kernels, kinds = kernels_of(text), collections.Counter()
    for kernel in kernels:
        kinds[kind(kernel)] += kernel.bytes_moved
    moved, least = sum(kinds.values()), floor(kernels)
    heaviest = sorted(kernels, key=lambda kernel: kernel.bytes_moved, reverse=True)[:HEAVIEST]
    return row | {
        "cudnn_attention": "__cudnn$fmha" in text,
        "flops": sum(kernel.runs * kernel.flops for kernel in kernels),
        "bytes": moved,
        "floor_bytes": least,
        "launches": sum(kernel.runs for kernel in kernels),
        "predicted_seconds": predicted_seconds(kernels),
        "bytes_by_kind": dict(kinds.most_common()),
        "heaviest": [
            {"read": one.read, "written": one.written, "runs": one.runs, "operation": one.operation or one.name}
            for one in heaviest
        ],
    }


def table(rows: list[dict[str, Any]], options: argparse.Namespace) -> str:
    said = f"Seconds are a roofline's prediction ({BANDWIDTH / 1e12:g} TB/s, {RATE / 1e12:g} TFLOP/s), not measured."
    lines = [
        f"{options.preset} on an H100, batch {options.batch}, {options.dtype}; "
        f"{options.steps} calls, guided, truncated.",
        said,
        "",
        "| program | compile, s | arguments, GiB | temporaries, GiB | TFLOP | GB moved | of the floor | predicted, s "
        "| attention |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratio = f"{row['bytes'] / row['floor_bytes']:.2f}" if row["floor_bytes"] else ""
        lines.append(
            f"| {row['program']} | {row['compile_seconds']:.0f} | {row['argument_bytes'] / 2**30:.2f} | "
            f"{row['temporary_bytes'] / 2**30:.2f} | {row['flops'] / 1e12:.4g} | {row['bytes'] / 1e9:.4g} | {ratio} | "
            f"{row['predicted_seconds']:.3g} | {'cuDNN' if row['cudnn_attention'] else 'XLA'} |"
        )
    for row in rows:
        shares = (f"{kind} {count / max(row['bytes'], 1):.0%}" for kind, count in row["bytes_by_kind"].items())
        lines += ["", f"Bytes of {row['program']}: {', '.join(shares)}."]
    return "\n".join(lines)


def report(options: argparse.Namespace) -> None:
    """Compile the programs that the options name, print their table and write it."""
    from benchmarks.accelerators import programs_of
    from vqdiffusion_jax import preset
    from vqdiffusion_jax.models.attention import cudnn_refusal

    device = target_of("h100").devices[0]  # before anything starts a backend
    denoiser, rows = preset(options.preset).denoiser, []
    heads = (denoiser.num_tokens, denoiser.num_heads, denoiser.width // denoiser.num_heads)
    if refusal := cudnn_refusal(heads, heads, options.dtype):
        print(refusal)
    for name, (function, given) in programs_of(options, device).items():
        rows.append(measure(name, function, given, options.keep_text))
        print(table([rows[-1]], options), flush=True)
    write({"device": "H100", "rows": rows}, table(rows, options), options)
