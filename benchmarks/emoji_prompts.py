"""The share of prompts that a model of compositions draws as asked: names alone and 200 plain prompts, by exact tokens.

    python -m benchmarks.emoji_prompts --checkpoint=runs/emoji300/denoiser/model --data=runs/emoji300/drawings
    python -m benchmarks.emoji_prompts --data=runs/emoji300/drawings --page=docs/results

Every drawing that a right picture could hold is known, so a picture is compared with the nearest right one, token by
token: no judge.  Told per kind of prompt, with 95 % intervals: the right things (at least half of their tokens are
right), whole pictures (at most 2 tokens of a hundred are wrong), and the mean number of wrong tokens.  Beside names and
the list there are pairs at random, of combinations that training shows and of those it never does.  OUT gets figures as
JSON and, with --sheets, pictures by kind, the worst first; PAGE gets emoji.md with both.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vqdiffusion_jax import VQDiffusionPipeline
from vqdiffusion_jax.cli.configuration_file import read_configuration
from vqdiffusion_jax.cli.pictures import grid
from vqdiffusion_jax.data.compositions.grammar import Grammar, draw_composition
from vqdiffusion_jax.data.compositions.library import Library
from vqdiffusion_jax.data.compositions.prompts import Prompt, Wanted, read_prompts
from vqdiffusion_jax.data.compositions.tokens import TokenLibrary
from vqdiffusion_jax.data.config import DataConfig
from vqdiffusion_jax.data.sources import open_source
from vqdiffusion_jax.data.sources.compositions import Compositions
from vqdiffusion_jax.evaluation.following import share

from ._emoji_answers import Judged, answers, judge
from ._emoji_page import page_of
from ._emoji_snapshot import box_psnr, photograph_psnr

CHUNK = 32
COMBINATIONS = ("seen", "held_out")
KINDS = ["names", *(f"pairs {one}" for one in COMBINATIONS), "prompts"]
PAIRS = 200  # of each kind of combination
_RELATIONS = {"horizontal": "left of", "vertical": "above"}
HALF, WHOLE = 0.5, 0.02
COLUMNS = 24  # of a sheet
PHOTOGRAPHS = 500


def main() -> None:
    options = arguments().parse_args()
    library = open_library(options.data, options.config)
    pipeline = VQDiffusionPipeline.from_pretrained(options.checkpoint)
    asked = names(library)[:: options.every] if "names" in options.kinds else []
    for combinations in COMBINATIONS:
        if f"pairs {combinations}" in options.kinds:
            asked += pairs(library, combinations)[:: options.every]
    asked += [prompt for prompt in read_prompts() if {prompt.kind, "prompts"} & set(options.kinds)][:: options.every]
    found = measure(pipeline, library, asked, seed=options.seed)
    told = table(asked, found)
    print(as_text(told))
    if options.page:
        codec = box_psnr(pipeline.model.codec, library)
        if options.photographs:
            codec |= photograph_psnr(pipeline.model.codec, photographs(options.photographs))
        write_page(options.page, options.checkpoint, told, asked, found, codec)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    rows = [
        {"kind": prompt.kind, "prompt": prompt.prompt}
        | ({} if one is None else {"wrong": one.wrong, "shown": one.shown})
        for prompt, one in zip(asked, found.judged, strict=True)
    ]
    (options.out / "prompts.json").write_text(json.dumps({"table": told, "pictures": rows}, indent=1) + "\n")
    if options.sheets:
        write_sheets(options.out, told, asked, found)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--checkpoint", default="emoji", help="the model: a folder, or emoji (the default), the embedded one"
    )
    parser.add_argument("--data", required=True, type=Path, help="folder of python -m vqdiffusion_jax.data.emoji")
    parser.add_argument(
        "--config", default="configs/emoji300.py", help="whose data options say which drawings there are"
    )
    parser.add_argument(
        "--kinds", nargs="+", default=KINDS, help="names, pairs seen, pairs held_out, prompts, or kinds of prompts"
    )
    parser.add_argument(
        "--photographs", type=Path, help="folder of one .npz of 64 x 64 photographs, to try the codec on for the page"
    )
    parser.add_argument("--every", type=int, default=1, help="ask every so many (default 1: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the first picture; the next ones count on")
    parser.add_argument("--sheets", action="store_true", help="write the pictures of each kind, the worst first")
    parser.add_argument("--out", type=Path, default=Path("runs/emoji_prompts"), help="default runs/emoji_prompts")
    parser.add_argument("--page", type=Path, help="write emoji.md and its pictures to this folder, in place of OUT")
    return parser


def open_library(data: Path, config: str) -> Library:
    """Return the drawings that a training configuration's data options name."""
    configuration: Any = read_configuration(config)
    return Compositions(data, "train", **configuration.data.options.to_dict()).library


def photographs(folder: Path) -> np.ndarray:
    """Return some photographs (n, 64, 64, 3) uint8 of a folder of one .npz, every so many of them."""
    source = open_source(DataConfig(source="npz", root=str(folder), options={"captions": ""}), "train")
    chosen = np.linspace(0, len(source) - 1, min(PHOTOGRAPHS, len(source))).astype(int).tolist()
    return np.stack([source[i]["image"] for i in chosen])


def names(library: Library) -> list[Prompt]:
    """Return the usual name of every thing, as prompts."""
    return [
        Prompt(kind="names", prompt=library.names[concept][0].text, objects=(Wanted(concepts=(concept,)),))
        for concept in library.concepts
    ]


def pairs(library: Library, combinations: str) -> list[Prompt]:
    """Return prompts of two things and how they lie, on white, drawn at random from combinations of one kind."""
    shares = dict(large=0.0, small=0.0, pair=1.0, count=0.0, mixed=0.0, white_rate=1.0, colour_rate=0.0)
    grammar = Grammar(**shares, combinations=combinations, kinds_held_out=("relation",))
    rng, found = np.random.default_rng(0), []
    for _ in range(PAIRS):
        drawn = draw_composition(grammar, library, rng)
        first, second = (thing.concept for thing in drawn.things)
        relation = _RELATIONS[drawn.arrangement]
        between = "to the left of" if relation == "left of" else relation
        found.append(
            Prompt(
                kind=f"pairs {combinations}",
                prompt=f"{library.names[first][0].text} {between} {library.names[second][0].text}",
                objects=(Wanted(concepts=(first,)), Wanted(concepts=(second,))),
                relation=relation,
            )
        )
    return found


class Found:
    """Pictures (n, height, width, 3) uint8 and, for each, how right it is; None where there is no right picture."""

    def __init__(self, pictures: np.ndarray, judged: list[Judged | None]):
        self.pictures, self.judged = pictures, judged


def measure(
    pipeline: VQDiffusionPipeline, library: Library, asked: Sequence[Prompt], *, seed: int = 0, **settings: Any
) -> Found:
    """Draw one picture of each prompt, with seeds that count on from ``seed``, and judge it.

    settings: those of a call of the pipeline; by default the model's own.
    """
    tokens = TokenLibrary(library, pipeline.encode)
    drawn: list[np.ndarray] = []
    for start in range(0, len(asked), CHUNK):
        part = [prompt.prompt for prompt in asked[start : start + CHUNK]]
        seeds = list(range(seed + start, seed + start + len(part)))
        filled, numbers = part + part[-1:] * (CHUNK - len(part)), seeds + seeds[-1:] * (CHUNK - len(part))
        output = pipeline(
            filled, seed=numbers, batch_size=CHUNK, output_type="tokens", progress=False, **settings
        )  # batches of one size, so that one program serves all
        drawn += list(np.asarray(output.tokens)[: len(part)])
    judged = []
    for prompt, one in zip(asked, drawn, strict=True):
        right = answers(prompt, library)
        judged.append(judge(one, right, tokens) if right else None)
    return Found(pipeline.decode(np.stack(drawn)), judged)


def table(asked: Sequence[Prompt], found: Found) -> dict[str, dict[str, Any]]:
    """Return figures by kind of prompt: count, unanswerable, right and whole (share and interval), wrong (mean)."""
    told: dict[str, dict[str, Any]] = {}
    for kind in dict.fromkeys(prompt.kind for prompt in asked):
        ours = [one for prompt, one in zip(asked, found.judged, strict=True) if prompt.kind == kind]
        known = [one for one in ours if one is not None]
        told[kind] = {"count": len(known), "without_drawings": len(ours) - len(known)}
        for name, good in (
            ("right", [one.shown >= HALF for one in known]),
            ("whole", [one.wrong <= WHOLE * 64 for one in known]),
        ):
            if counted := share(np.array(good, float)):
                told[kind][name] = {"share": counted.value, "interval": list(counted.interval)}
        if known:
            told[kind]["wrong"] = float(np.mean([one.wrong for one in known]))
    return told


def as_text(told: dict[str, dict[str, Any]]) -> str:
    """Return the table for people."""
    lines = [f"{'kind':12} {'count':>5}  right (95 %)         whole (95 %)         wrong of 64"]
    for kind, row in told.items():
        parts = [
            f"{row[name]['share']:.0%} ({row[name]['interval'][0]:.0%} to {row[name]['interval'][1]:.0%})"
            for name in ("right", "whole")
            if name in row
        ]
        lines.append(
            f"{kind:12} {row['count']:5}  " + "  ".join(f"{part:19}" for part in parts) + f"  {row.get('wrong', 0):.2f}"
        )
    return "\n".join(lines)


def write_page(
    folder: Path, model: str, told: dict[str, dict[str, Any]], asked: Sequence[Prompt], found: Found, codec: dict
) -> None:
    """Write emoji.md, and its sheets and figures below ``emoji``."""
    wrong: dict[str, list[str]] = {}
    for prompt, one in zip(asked, found.judged, strict=True):
        if one is not None and one.shown < HALF:
            wrong.setdefault(prompt.kind, []).append(prompt.prompt)
    (folder / "emoji").mkdir(parents=True, exist_ok=True)
    write_sheets(folder / "emoji", told, asked, found)
    figures = {"codec": codec, "kinds": told, "wrong": wrong}
    (folder / "emoji" / "prompts.json").write_text(json.dumps(figures, indent=1) + "\n")
    (folder / "emoji.md").write_text(page_of(model, told, wrong, codec), encoding="utf-8")


def write_sheets(folder: Path, kinds: Iterable[str], asked: Sequence[Prompt], found: Found) -> None:
    """Write the pictures of each kind of prompt to a file of its name, the worst first."""
    for kind in kinds:
        sheet = grid(worst_first(kind, asked, found), columns=COLUMNS)
        sheet.save(folder / f"{kind.replace(' ', '_')}.png", optimize=True)


def worst_first(kind: str, asked: Sequence[Prompt], found: Found) -> np.ndarray:
    """Return the pictures of a kind of prompt, those with most wrong tokens first."""
    ours = [
        (one.wrong if one else 0, number)
        for number, (prompt, one) in enumerate(zip(asked, found.judged, strict=True))
        if prompt.kind == kind
    ]
    return found.pictures[[number for _, number in sorted(ours, key=lambda pair: -pair[0])]]


if __name__ == "__main__":
    main()
