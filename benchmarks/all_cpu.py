"""Every table of ``docs/results/benchmarks`` for a CPU, each benchmark in a process of its own.

    python -m benchmarks.all_cpu [startup text ...]

About half an hour on two cores; named ones are run alone.  ITHQ runs at batch 1: with its weights held twice, batch 4 needs more
than 24 GiB.
"""

from __future__ import annotations

import subprocess
import sys

COMMANDS = (
    ("startup",),
    ("text",),
    ("decode",),
    ("sampling", "--models=emoji", "--steps=100", "--out=docs/results/benchmarks/sampling-emoji-cpu.json"),
    ("sampling", "--models=coco_cf", "--batches=1,4", "--out=docs/results/benchmarks/sampling-coco-cpu.json"),
    ("sampling", "--models=ithq", "--batches=1", "--repeats=2", "--out=docs/results/benchmarks/sampling-ithq-cpu.json"),
    ("sampler_tail", "--models=emoji,imagenet_cf,coco_cf", "--steps=2"),
    ("sampler_tail", "--models=ithq", "--steps=1", "--repeats=2", "--out=docs/results/benchmarks/sampler_tail-ithq-cpu.json"),
    ("compile_time",),
    ("forms",),
    ("growth", "--repeats=7"),
    ("denoiser", "--models=coco_cf,imagenet_cf,emoji"),
    ("training", "--models=emoji,imagenet_cf"),
    ("page",),
)


def main() -> None:
    failed = []
    for name, *options in COMMANDS:
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        print(f"== {name} {' '.join(options)}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", "--repeats=3", *options]
        failed += [name] if subprocess.run(command).returncode else []
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
