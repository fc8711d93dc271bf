"""The loss of a training run as a picture and a table.

python -m benchmarks.loss_curve --workdir=runs/emoji_tiny --out=docs/results/emoji_tiny
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from vqdiffusion_jax.evaluation.svg import line_plot

WINDOW = 5  # logged values averaged for the table and the picture: single batches are noisy
ROWS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="writes OUT.svg and OUT.json, and prints a table")
    parser.add_argument("--field", default="bits_per_token")
    options = parser.parse_args()
    records = [json.loads(line) for line in (options.workdir / "metrics.jsonl").read_text().splitlines()]
    training = [(r["step"], r[options.field]) for r in records if options.field in r]
    validation = [(r["step"], r[f"validation_{options.field}"]) for r in records if f"validation_{options.field}" in r]
    steps, values = (np.array(column) for column in zip(*training))
    mean = np.convolve(values, np.ones(WINDOW) / WINDOW, mode="valid")
    steps = steps[WINDOW - 1 :]
    title = options.field.replace("_", " ")
    picture = line_plot(
        f"{title} in training", "step", title, steps.tolist(), {f"mean of {WINDOW} logged steps": mean.tolist()}
    )
    options.out.with_suffix(".svg").write_text(picture, encoding="utf-8")
    options.out.with_suffix(".json").write_text(
        json.dumps({"training": training, "validation": validation}) + "\n", encoding="utf-8"
    )
    print(f"| step | {title}, mean of {WINDOW} logged steps |\n|---:|---:|")
    for row in np.unique(np.linspace(0, len(steps) - 1, ROWS).astype(int)):
        print(f"| {steps[row]} | {mean[row]:.3f} |")
    for step, value in validation:
        print(f"validation at step {step}: {value:.3f}")


if __name__ == "__main__":
    main()
