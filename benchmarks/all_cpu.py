"""Every table of ``docs/results/benchmarks`` for a CPU, each benchmark in a process of its own.

    python -m benchmarks.all_cpu [--repeats 5]

ITHQ runs at batch 1: with its weights held twice, batch 4 needs more than 24 GiB.
"""

from __future__ import annotations

import subprocess
import sys

COMMANDS = (
    ("sampler_tail",),
    ("text",),
    ("decode",),
    ("denoiser",),
    ("sampling", "--models=coco_cf", "--batches=1,4", "--out=docs/results/benchmarks/sampling-coco-cpu.json"),
    ("sampling", "--models=ithq", "--batches=1", "--out=docs/results/benchmarks/sampling-ithq-cpu.json"),
    ("sampling", "--models=emoji", "--steps=100", "--out=docs/results/benchmarks/sampling-emoji-cpu.json"),
    ("training",),
    ("startup",),
    ("compile_time",),
    ("growth",),
    ("page",),
)


def main() -> None:
    failed = []
    for name, *options in COMMANDS:
        print(f"== {name} {' '.join(options)}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", *options, *sys.argv[1:]]
        failed += [name] if subprocess.run(command).returncode else []
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
