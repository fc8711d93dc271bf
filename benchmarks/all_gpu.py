"""Every table of ``docs/results/benchmarks`` for a GPU, after a test of the GPU itself.

    python -m benchmarks.all_gpu [--go_on] [smoke sampling ...]
    python -m benchmarks.all_gpu --trial=FOLDER

The first four commands, which matter most, are meant for ten minutes; a run that is cut short is continued by the same
command with ``--go_on``, which leaves out what has written its file.  ``--trial`` shows on any machine, also without a
GPU, that all of them run: one layer, one picture, one turn, written to FOLDER.

Weights and arithmetic are bfloat16, and once float8; diffusers takes float16 and bfloat16, each as it is and through
torch.compile.  The largest models come first, and what has run has been written, so that a run cut short leaves what
matters most.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks._all import run_all

FOLDER = "--out=docs/results/benchmarks"
HALF, EIGHTH = "--dtype=bfloat16", "--dtype=float8"
COMMANDS = (
    ("smoke",),
    ("sampling", HALF, "--models=ithq", "--batches=8,16,32", "--steps=5", f"{FOLDER}/sampling-ithq-gpu.json"),
    ("sampling", HALF, "--models=coco_cf", "--batches=8,16,32", "--steps=5", f"{FOLDER}/sampling-coco-gpu.json"),
    ("training", HALF, "--models=ithq", "--batch=16", f"{FOLDER}/training-ithq-gpu.json"),
    ("sampling", EIGHTH, "--models=ithq,coco_cf", "--batches=8,16", "--steps=5", f"{FOLDER}/sampling-float8-gpu.json"),
    ("sampler_tail", HALF, "--models=ithq,coco_cf,imagenet_cf,emoji", "--steps=5", f"{FOLDER}/sampler_tail-gpu.json"),
    ("decode", HALF, f"{FOLDER}/decode-gpu.json"),
    ("text", HALF, f"{FOLDER}/text-gpu.json"),
    ("denoiser", HALF, "--batches=1,8,32", f"{FOLDER}/denoiser-gpu.json"),
    ("sampling", HALF, "--models=emoji", "--steps=100", "--batches=1,64", f"{FOLDER}/sampling-emoji-gpu.json"),
    ("growth", HALF, f"{FOLDER}/growth-gpu.json"),
    ("page",),
)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="run these alone")
    parser.add_argument("--trial", type=Path, metavar="FOLDER", help="little work, written to FOLDER")
    parser.add_argument("--go_on", action="store_true", help="leave out what has written its file")
    given = parser.parse_args()
    run_all(COMMANDS, given.names, trial=given.trial, go_on=given.go_on)
