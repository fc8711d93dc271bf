r"""The papers' claims about sampling, on a process whose joint distribution is known exactly.

    python -m benchmarks.known_joint

First with the exact marginals in place of a network, so that what is wrong is the sampler's alone; then with small
networks of three seeds, trained here.  Networks and rows are kept in --work as they are done: a run that is stopped
goes on where it was, and --page alone writes docs/results/known_joint.md of what there is.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from vqdiffusion_jax.exit_status import exit_with_status
from vqdiffusion_jax.files import write_whole

from ._known_joint_draw import draw
from ._known_joint_figures import outcomes
from ._known_joint_page import page
from ._known_joint_process import Process, standard
from ._known_joint_rows import Row, rows
from ._known_joint_train import Trained, kept

SEEDS = (0, 1, 2)  # of the networks


def main() -> None:
    options = arguments().parse_args()
    process = standard()
    captions = process.draw_captions(options.pictures, np.random.default_rng(11))
    (options.work / "networks").mkdir(parents=True, exist_ok=True)
    options.out.mkdir(parents=True, exist_ok=True)
    every = [row for row in rows() if not (options.exact and row.network)]
    wanted = [row for row in every if not options.tables or row.table in options.tables]
    if not options.page:
        begun = time.monotonic()
        left = [row for row in wanted if read(row, options, captions) is None]
        for number, row in enumerate(left, 1):
            write(row, options, process, captions)
            minutes = (time.monotonic() - begun) / 60
            to_go = minutes / number * (len(left) - number)
            print(f"{number} of {len(left)} rows, {minutes:.1f} min, {to_go:.1f} min to go: {row.key}", flush=True)
    drawn = {row: tokens for row in every if (tokens := read(row, options, captions)) is not None}
    found = {row: outcomes(process, tokens, captions) for row, tokens in drawn.items()}
    for name, text in page(process, rows(), found, options.steps).items():
        with write_whole(options.out / name) as place:
            place.write_text(text, encoding="utf-8")
        print(f"written: {options.out / name}")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=5000, help="pictures a row")
    parser.add_argument("--steps", type=int, default=3000, help="training steps of a network")
    parser.add_argument("--exact", action="store_true", help="no networks")
    parser.add_argument("--tables", nargs="+", default=[], help="draw the rows of these alone; default all")
    parser.add_argument("--page", action="store_true", help="draw nothing more; write the page of what there is")
    parser.add_argument("--work", type=Path, default=Path("runs/known_joint"), help="for networks and pictures")
    parser.add_argument("--out", type=Path, default=Path("docs/results"), help="for the page and its plots")
    return parser


def write(row: Row, options: argparse.Namespace, process: Process, captions: np.ndarray) -> None:
    """Draw a row and keep its pictures; those of networks are shared out among the seeds."""
    if not row.network:
        drawn = [draw(process, row.sampling, captions, seed=0, timesteps=row.timesteps, used=row.used)]
    else:
        drawn = []
        for seed, part in zip(SEEDS, np.array_split(captions, len(SEEDS)), strict=True):
            network = network_of(row, seed, options, process)
            null = "learned" if row.trained_null == "learned" else "empty text"
            drawn.append(
                draw(process, row.sampling, part, seed=seed, timesteps=row.timesteps, network=network, null=null)
            )
    with write_whole(place_of(row, options)) as place, place.open("wb") as file:
        np.savez_compressed(file, tokens=np.concatenate(drawn), told=json.dumps(told(row, options)))


def network_of(row: Row, seed: int, options: argparse.Namespace, process: Process) -> Trained:
    """Return the network that a row is drawn with, trained now unless it is there."""
    how = {"num_timesteps": row.timesteps, "null": row.trained_null, "used": row.used, "steps": options.steps}
    name = ",".join(f"{key}={value}" for key, value in how.items()).replace(" ", "_")
    return kept(options.work / "networks" / f"{name},{seed}.npz", process, seed=seed, **how)


def read(row: Row, options: argparse.Namespace, captions: np.ndarray) -> np.ndarray | None:
    """Return the pictures of a row, or None if there are none of today's settings."""
    path = place_of(row, options)
    if not path.exists():
        return None
    with np.load(path) as file:
        if str(file["told"]) != json.dumps(told(row, options)) or len(file["tokens"]) != len(captions):
            return None
        return file["tokens"]


def place_of(row: Row, options: argparse.Namespace) -> Path:
    return options.work / f"{row.key}.npz"


def told(row: Row, options: argparse.Namespace) -> dict:
    return row.told() | ({"steps": options.steps} if row.network else {})


if __name__ == "__main__":
    exit_with_status(main)
