"""Train a judge of composed pictures and test it on real ones it has not seen.

python -m vqdiffusion_jax.evaluation.judge --data=DIR --out=FILE.npz
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from ...data.scenes.concepts import EMBEDDED
from ...exit_status import exit_with_status
from .files import save_judge
from .train import measure_judge, train_judge

# What an honest measurement needs the judge itself to reach on real pictures.
WANTED = {"background": 0.95, "relation": 0.95, "concept": 0.9}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", required=True, type=Path, help="folder that python -m vqdiffusion_jax.data.emoji wrote"
    )
    parser.add_argument("--out", required=True, type=Path, help="file to write")
    parser.add_argument(
        "--concepts",
        type=int,
        default=2 * EMBEDDED,
        help=f"the first so many of data/scenes/concepts.txt (0: all; default {2 * EMBEDDED}); "
        "one that knows more is stricter",
    )
    parser.add_argument("--steps", type=int, default=2000, help="batches to train on (default 2000)")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start = time.monotonic()

    def report(step: int, losses: dict[str, float]) -> None:
        shown = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
        print(f"step {step}, {time.monotonic() - start:.0f} s: {shown}", flush=True)

    judge = train_judge(
        options.data,
        options.concepts,
        steps=options.steps,
        batch_size=options.batch_size,
        seed=options.seed,
        report=report,
    )
    save_judge(judge, options.out)
    print(f"written: {options.out}")
    for question, share in measure_judge(judge, options.data).items():
        wanted = f" (wanted: {WANTED[question]:.0%})" if question in WANTED else ""
        print(f"{question}: {share:.1%} right on real pictures it has not seen{wanted}")


if __name__ == "__main__":
    exit_with_status(main)
