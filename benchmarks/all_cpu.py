"""Every table of ``docs/results/benchmarks`` for a CPU, each benchmark in a process of its own.

    python -m benchmarks.all_cpu [startup text ...]

About an hour on two cores; named ones are run alone.
"""

from __future__ import annotations

import sys

from benchmarks._all import run_all

FOLDER = "--out=docs/results/benchmarks"
FEW, HALF = "--repeats=3", "--dtype=bfloat16"
COMMANDS = (
    ("startup", FEW),
    ("text", FEW),
    ("decode", FEW),
    ("sampling", FEW, "--models=emoji", "--steps=100", f"{FOLDER}/sampling-emoji-cpu.json"),
    ("sampling", FEW, "--models=coco_cf", "--batches=1,4", f"{FOLDER}/sampling-coco-cpu.json"),
    ("sampling", "--repeats=2", "--models=ithq", "--batches=1", f"{FOLDER}/sampling-ithq-cpu.json"),
    ("sampling", "--repeats=1", "--models=ithq", "--batches=4", f"{FOLDER}/sampling-ithq-4-cpu.json"),
    ("sampling", FEW, HALF, "--models=emoji", "--steps=100", f"{FOLDER}/sampling-emoji-bfloat16-cpu.json"),
    ("sampling", FEW, HALF, "--models=coco_cf", "--batches=1,4", f"{FOLDER}/sampling-coco-bfloat16-cpu.json"),
    ("sampling", "--repeats=2", HALF, "--models=ithq", "--batches=1", f"{FOLDER}/sampling-ithq-bfloat16-cpu.json"),
    ("decode", FEW, HALF, "--batches=1", f"{FOLDER}/decode-bfloat16-cpu.json"),
    ("sampler_tail", FEW, "--models=emoji,imagenet_cf,coco_cf", "--steps=2"),
    ("sampler_tail", "--repeats=2", "--models=ithq", "--steps=1", f"{FOLDER}/sampler_tail-ithq-cpu.json"),
    ("compile_time", FEW),
    ("forms",),
    ("growth",),
    ("denoiser", FEW, "--models=coco_cf,imagenet_cf,emoji"),
    ("training", FEW, "--models=emoji"),
    ("page",),
)

if __name__ == "__main__":
    run_all(COMMANDS, sys.argv[1:])
