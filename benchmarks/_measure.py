"""Timing side by side: contestants take turns in one process, so that a busy machine slows them alike."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vqdiffusion_jax.config import MODEL_DTYPES

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results" / "benchmarks"
PACKAGES = ("jax", "jaxlib", "flax", "torch", "diffusers", "transformers")
WITHOUT_FLOAT8 = MODEL_DTYPES[:2]
COLUMNS = ("name", "contestant", "median_ms", "spread_percent", "cpu_ms", "ratio_to_peer", "tflops", "share_of_matmul")


def arguments(doc: str, name: str, dtypes: tuple[str, ...] = MODEL_DTYPES) -> argparse.ArgumentParser:
    """Return a parser of the options that all benchmarks share; ``dtypes`` are those that make a difference."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7, help="turns each contestant takes after one that warms up")
    parser.add_argument("--layers", type=int, help="only so many denoiser layers: for trials")
    parser.add_argument(
        "--dtype",
        default="float32",
        choices=dtypes,
        help="of our weights and matrix products; float8: those of the blocks alone, the rest in bfloat16.  "
        "Unless this is float32, the peer takes float16 on a GPU",
    )
    parser.add_argument("--out", type=Path, help=f"JSON file; default docs/results/benchmarks/{name}-DEVICE.json")
    return parser


def alternate(contestants: dict[str, Callable[[], Any]], repeats: int) -> dict[str, dict[str, float]]:
    """Return the seconds of each contestant: median, spread (middle half, as a share of the median), processor time.

    A contestant waits for its own device before it returns.
    """
    wall, cpu = {name: [] for name in contestants}, {name: [] for name in contestants}
    for run in contestants.values():
        run()
    for _ in range(repeats):
        for name, run in contestants.items():
            started, busy = time.perf_counter(), time.process_time()
            run()
            wall[name].append(time.perf_counter() - started)
            cpu[name].append(time.process_time() - busy)
    return {
        name: {"median": statistics.median(seconds), "spread": _spread(seconds), "cpu": statistics.median(cpu[name])}
        for name, seconds in wall.items()
    }


def rows_of(
    name: str,
    timings: dict[str, dict[str, float]],
    *,
    flops: float | None = None,
    dtype: str | None = None,
    **facts: Any,
) -> list[dict[str, Any]]:
    """Return a row per contestant; all but "ours" are peers, whose names say their dtype; ``dtype`` is ours.

    On a CPU the ratio of processor times stands beside that of wall times: other programs hardly change it.
    """
    rows = []
    ours = timings["ours"]
    for contestant, timing in timings.items():
        rate = None if flops is None else flops / timing["median"]
        peer = contestant != "ours"
        rows.append(
            {
                "name": name,
                "contestant": contestant,
                "dtype": None if peer else dtype,
                **facts,
                "median_ms": timing["median"] * 1e3,
                "spread_percent": timing["spread"] * 100,
                "cpu_ms": timing["cpu"] * 1e3,
                "ratio_to_peer": ours["median"] / timing["median"] if peer else None,
                "cpu_ratio_to_peer": ours["cpu"] / timing["cpu"] if peer else None,
                "tflops": None if rate is None else rate / 1e12,
            }
        )
    return rows


def matmul_ceiling(dtype: str) -> float:
    """Return the FLOP/s of a square matrix product in ``dtype``, the best of many; no network exceeds them here.

    For float8 they are those of bfloat16.
    """
    import jax
    import jax.numpy as jnp

    from vqdiffusion_jax.config import compute_in
    from vqdiffusion_jax.models.matmul import dot_general

    size, rounds = (2048, 1) if jax.default_backend() == "cpu" else (8192, 20)
    a, b = jax.random.normal(jax.random.key(0), (2, size, size), jnp.float32).astype(compute_in(dtype).dtype)
    product = jax.jit(
        lambda a, b: jax.lax.fori_loop(0, rounds, lambda _, a: dot_general(a, b, (((1,), (0,)), ((), ()))) * 0.02, a)
    )
    return 2 * size**3 * rounds / _least_seconds(lambda: product(a, b).block_until_ready())


def peer_matmul_tflops(dtype: str) -> float | None:
    """Return the TFLOP/s of the same product in torch, which bound how far ratios can fall; None without torch."""
    try:
        import torch
    except ImportError:
        return None
    on_gpu = torch.cuda.is_available()
    size, rounds = (8192, 20) if on_gpu else (2048, 1)
    kind = {"float32": torch.float32}.get(dtype, torch.float16 if on_gpu else torch.bfloat16)
    a, b = torch.randn(2, size, size, device="cuda" if on_gpu else "cpu").to(kind)

    def run():
        for _ in range(rounds):
            product = a @ b
        product[0, 0].item()

    return 2 * size**3 * rounds / _least_seconds(run) / 1e12


def _least_seconds(run: Callable[[], Any], for_seconds: float = 3.0) -> float:
    """Return the least of as many turns as there is time for, as a shared machine has slow seconds."""
    run()
    seconds, started = [], time.perf_counter()
    while time.perf_counter() - started < for_seconds:
        before = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - before)
    return min(seconds)


def growth_plot(stem: str, what: str) -> str:
    """Return the file name of the plot of time against ``what`` that belongs to the table ``stem``.json."""
    return f"{stem}-{what.replace(' ', '_')}.svg"


def peak_gib() -> float:
    """Return the peak memory in GiB: the accelerator's, or resident in this process, of all contestants together."""
    import jax

    statistics_of_device = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in statistics_of_device:
        return statistics_of_device["peak_bytes_in_use"] / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def finish(benchmark: str, rows: list[dict[str, Any]], out: Path | None, **facts: Any) -> Path:
    """Print the table, write the JSON and return its path."""
    import jax

    device = jax.devices()[0]
    record = {
        "benchmark": benchmark,
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "device": device.device_kind,
        "platform": device.platform,
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}",
        "load": [round(load, 1) for load in os.getloadavg()],
        "versions": {name: _version(name) for name in PACKAGES},
        "peak_gib": round(peak_gib(), 2),
        **facts,
        "rows": rows,
    }
    print("\n".join(_table(rows)), f"\npeak {record['peak_gib']} GiB, load {record['load']}", flush=True)
    out = out or RESULTS / f"{benchmark}-{device.device_kind.replace(' ', '_').lower()}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=1) + "\n")
    print(f"written to {out}")
    return out


def finish_beside_matmul(
    benchmark: str, rows: list[dict[str, Any]], options: argparse.Namespace, ceiling: float, **facts: Any
) -> Path:
    """Finish with our rates as shares of a matrix product's.

    ceiling: ``matmul_ceiling`` before the timings; it is measured again after them, as the machine may slow down.
    """
    ceiling = max(ceiling, matmul_ceiling(options.dtype))
    for row in rows:
        if row["contestant"] == "ours" and row["tflops"] is not None:
            row["share_of_matmul"] = row["tflops"] * 1e12 / ceiling
    peer = peer_matmul_tflops(options.dtype)
    return finish(benchmark, rows, options.out, matmul_tflops=ceiling / 1e12, peer_matmul_tflops=peer, **facts)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    shown = [column for column in COLUMNS if any(row.get(column) is not None for row in rows)]
    cells = [shown] + [[_cell(row.get(column)) for column in shown] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(shown))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in cells]


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:,.3f}" if isinstance(value, float) else str(value)


def _spread(values: list[float]) -> float:
    if len(values) < 4:
        return (max(values) - min(values)) / statistics.median(values)
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / statistics.median(values)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
