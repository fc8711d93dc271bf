"""The strategy, guidance and truncation that suit the embedded model, judged by the exact tokens of its drawings.

    python -m benchmarks.emoji_defaults --data=data/emoji

Draws pictures of names, of pairs and of complete captions for each row of ``ROWS`` and counts the tokens that differ
from the nearest true picture (``emoji_truth``).  No judge is asked.  The pictures of all rows have the same prompts and
noise.  Rows are drawn in turns, a chunk each, and every chunk is kept: a run that is stopped goes on where it was, and
``--page`` alone writes docs/results/emoji_defaults.md of what there is.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vqdiffusion_jax import VQDiffusionPipeline
from vqdiffusion_jax.data.scenes import Drawings
from vqdiffusion_jax.data.scenes.concepts import EMBEDDED, choose_concepts
from vqdiffusion_jax.evaluation.identity import fingerprint
from vqdiffusion_jax.exit_status import exit_with_status
from vqdiffusion_jax.files import write_whole

from .emoji_defaults_page import page
from .emoji_truth import KINDS, Grids, question, seen_styles

CHUNK = 16  # pictures drawn together
SHARES = {"names": 0.4, "pairs": 0.3, "captions": 0.3}  # of a row's pictures
_POSTERIOR = {"strategy": "posterior", "num_inference_steps": 20, "guidance_scale": 1.0}
_PURITY = {"strategy": "purity", "tokens_per_call": 4, "guidance_scale": 1.0}
_MASKGIT = {"strategy": "maskgit", "num_inference_steps": 20, "guidance_scale": 1.0}
_LARGE_SCALE = {"strategy": "posterior", "num_inference_steps": 25, "guidance_scale": 5.0, "truncation_rate": 1.0}
_GUIDED = {"guidance_scale": 1.5, "truncation_rate": 0.86}
ROWS: dict[str, dict[str, Any]] = {
    "posterior, 100 steps, guidance 1.5": {
        "strategy": "posterior",
        "num_inference_steps": 100,
        "guidance_scale": 1.5,
        "truncation_rate": 1.0,
    },
    "posterior, 25 steps, guidance 5": {**_LARGE_SCALE},
    "posterior, 25 steps, guidance 5, plausibility 0.01": {**_LARGE_SCALE, "guidance_plausibility": 0.01},
    "posterior, 20 steps, truncation 0.86": {**_POSTERIOR, "truncation_rate": 0.86},
    "posterior, 20 steps, truncation 0.5": {**_POSTERIOR, "truncation_rate": 0.5},
    "remask, 20 steps, truncation 0.5": {**_POSTERIOR, "strategy": "remask", "truncation_rate": 0.5},
    "fewer tokens, 4 a call, truncation 0.86": {**_PURITY, "strategy": "fewer_tokens", "truncation_rate": 0.86},
    "purity, 4 tokens a call": {**_PURITY, "truncation_rate": 1.0},
    "purity, 4 tokens a call, truncation 0.86": {**_PURITY, "truncation_rate": 0.86},
    "purity, 4 tokens a call, truncation 0.7": {**_PURITY, "truncation_rate": 0.7},
    "purity, 4 tokens a call, truncation 0.5": {**_PURITY, "truncation_rate": 0.5},
    "purity, 4 tokens a call, truncation 0.3": {**_PURITY, "truncation_rate": 0.3},
    "purity, 8 a call, guidance 1.5, truncation 0.86": {**_PURITY, "tokens_per_call": 8, **_GUIDED},
    "purity, 8 a call, guidance 1.5, plausibility 0.01, truncation 0.86": {
        **_PURITY,
        "tokens_per_call": 8,
        **_GUIDED,
        "guidance_plausibility": 0.01,
    },
    "MaskGIT, 16 steps, truncation 0.86": {**_MASKGIT, "num_inference_steps": 16, "truncation_rate": 0.86},
    "MaskGIT, 20 steps, truncation 0.7": {**_MASKGIT, "truncation_rate": 0.7},
    "MaskGIT, 20 steps, truncation 0.5": {**_MASKGIT, "truncation_rate": 0.5},
    "MaskGIT, 10 steps, guidance 1.5, plausibility 0.01, truncation 0.86": {
        **_MASKGIT,
        "num_inference_steps": 10,
        **_GUIDED,
        "guidance_plausibility": 0.01,
    },
    "entropy bound 1, truncation 0.86": {
        "strategy": "entropy_bound",
        "entropy_bound": 1.0,
        "guidance_scale": 1.0,
        "truncation_rate": 0.86,
    },
}


def main() -> None:
    options = arguments().parse_args()
    if unknown := [name for name in options.rows if name not in ROWS]:
        raise ValueError(f"--rows: there is no row {unknown[0]!r}; the rows are {', '.join(map(repr, ROWS))}")
    pipeline = VQDiffusionPipeline.from_pretrained(options.checkpoint)
    drawings = Drawings(options.data, choose_concepts(EMBEDDED))
    folder = options.work / fingerprint(pipeline.model)
    folder.mkdir(parents=True, exist_ok=True)
    counts = {kind: round(options.pictures * share / CHUNK) * CHUNK for kind, share in SHARES.items()}
    if not options.page:
        draw(pipeline, drawings, folder, options.rows or list(ROWS), counts)
    table = {
        "of": {"model": fingerprint(pipeline.model), "chunk": CHUNK},
        "rows": {name: row for name in ROWS if (row := collected(name, folder, drawings))},
        "seen_styles": {concept: seen_styles(concept, drawings) for concept in drawings.concepts},
    }
    for name, text in page(table).items():
        with write_whole(options.out / name) as place:
            place.write_text(text, encoding="utf-8")
        print(f"written: {options.out / name}")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", required=True, type=Path, help="folder that python -m vqdiffusion_jax.data.emoji wrote"
    )
    parser.add_argument("--checkpoint", default="emoji16", help="the model; default the embedded one of sixteen things")
    parser.add_argument("--pictures", type=int, default=1000, help="pictures a row")
    parser.add_argument("--rows", nargs="+", default=[], help="draw only these rows; default all")
    parser.add_argument("--work", type=Path, default=Path("runs/emoji_defaults"), help="for the chunks")
    parser.add_argument("--out", type=Path, default=Path("docs/results"), help="for the page and its plot")
    parser.add_argument("--page", action="store_true", help="draw nothing more; write the page of what there is")
    return parser


def draw(pipeline: VQDiffusionPipeline, drawings: Drawings, folder: Path, rows: list[str], counts: dict) -> None:
    """Draw what is missing of ``rows``, in turns, so that a run that is stopped leaves them with as many pictures."""
    grids = Grids(pipeline, drawings)
    done = {name: {(one["kind"], one["first"]) for one in chunks_of(name, folder)} for name in rows}
    turns = [(name, kind, first) for kind, first in _in_turns(counts) for name in rows]
    left = [turn for turn in turns if turn[1:] not in done[turn[0]]]
    begun = time.monotonic()
    for number, (name, kind, first) in enumerate(left):
        chunk = drawn(pipeline, grids, drawings, ROWS[name], kind, first)
        with (folder / f"{_slug(name)}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"settings": ROWS[name]} | chunk) + "\n")
        minutes = (time.monotonic() - begun) / 60
        to_go = minutes / (number + 1) * (len(left) - number - 1)
        print(f"{number + 1} of {len(left)} chunks, {minutes:.1f} min, {to_go:.1f} min to go: {name}, {kind}, {first}",
              flush=True)  # fmt: skip


def drawn(
    pipeline: VQDiffusionPipeline, grids: Grids, drawings: Drawings, settings: dict, kind: str, first: int
) -> dict[str, Any]:
    """Return what a chunk of pictures shows: wrong tokens, styles of the nearest true scene, network passes."""
    numbers = range(first, first + CHUNK)
    asked = [question(kind, number, drawings) for number in numbers]
    begun = time.process_time()
    output = pipeline(
        [one.prompt for one in asked],
        seed=list(numbers),
        batch_size=CHUNK,
        output_type="tokens",
        return_trajectory=True,
        progress=False,
        **settings,
    )
    seconds = time.process_time() - begun
    found = [grids.nearest(one, tokens) for one, tokens in zip(asked, output.tokens, strict=True)]
    forwards = 1 if settings["guidance_scale"] == 1.0 else 2
    assert output.trajectory is not None  # as asked for
    return {
        "kind": kind,
        "first": first,
        "wrong": [wrong for wrong, _ in found],
        "styles": [list(one.styles[nearest]) for one, (_, nearest) in zip(asked, found, strict=True)],
        "passes": (forwards * calls_made(output.trajectory, settings)).tolist(),
        "cpu_seconds": round(seconds, 2),
    }


def calls_made(trajectory: np.ndarray, settings: dict) -> np.ndarray:
    """Return the network calls of each picture, (pictures,), from tokens (pictures, calls, length) after every call.

    The entropy bound ends with the last [MASK], which is the largest token; any other strategy ends with its plan.
    """
    if settings["strategy"] != "entropy_bound":
        return np.full(len(trajectory), trajectory.shape[1])
    mask = trajectory.max()
    return (trajectory == mask).any(axis=2).sum(axis=1) + 1


def collected(name: str, folder: Path, drawings: Drawings) -> dict[str, Any] | None:
    """Return the pictures of a row, kind by kind, or None if there are none."""
    chunks = sorted(chunks_of(name, folder), key=lambda one: one["first"])
    if not chunks:
        return None
    row: dict[str, Any] = {"cpu_seconds": sum(one["cpu_seconds"] for one in chunks)}
    for kind in KINDS:
        parts = [one for one in chunks if one["kind"] == kind]
        row[kind] = {key: [value for one in parts for value in one[key]] for key in ("wrong", "styles", "passes")}
    concepts = drawings.concepts
    numbers = [one["first"] + i for one in chunks if one["kind"] == "names" for i in range(CHUNK)]
    row["names"]["concepts"] = [concepts[number % len(concepts)] for number in numbers]
    return row


def chunks_of(name: str, folder: Path) -> list[dict[str, Any]]:
    """Return the chunks of a row that were drawn with its settings of today; a line that was cut short is none."""
    path = folder / f"{_slug(name)}.jsonl"
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            chunk = json.loads(line)
        except ValueError:
            continue
        if chunk["settings"] == ROWS[name]:
            found.append(chunk)
    return found


def _in_turns(counts: dict[str, int]) -> Iterator[tuple[str, int]]:
    """Yield (kind, first picture) of every chunk, the kinds in step with their shares."""
    chunks = [(first / counts[kind], kind, first) for kind in counts for first in range(0, counts[kind], CHUNK)]
    for _, kind, first in sorted(chunks):
        yield kind, first


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter == "." else "_" for letter in name)


if __name__ == "__main__":
    exit_with_status(main)
