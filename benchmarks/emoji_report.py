r"""Everything that is claimed of the emoji model, measured, as one page with contact sheets.

    python -m vqdiffusion_jax.data.emoji --out=data/emoji
    python -m vqdiffusion_jax.evaluation.judge --data=data/emoji --out=runs/judge.npz
    python -m benchmarks.emoji_report --checkpoint=emoji16 --judge=runs/judge.npz --data=data/emoji --out=docs/results

Without --judge, the parts that ask it are not measured; those that are there, of the same model, stay on the page.
What settings gain and cost is measured by ``emoji_defaults`` and ``known_joint``.

Written are OUT/emoji16.md and, in OUT/emoji16, a JSON a part, plots and sheets.  A part whose JSON is there, made of
the same weights with the same options, is not measured again; one that was stopped goes on from the pictures that are
counted in --work.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

import jax

from vqdiffusion_jax.data.scenes.concepts import EMBEDDED
from vqdiffusion_jax.exit_status import exit_with_status
from vqdiffusion_jax.files import write_whole

from .emoji_report_page import page
from .emoji_report_parts import JUDGED, PARTS, Study
from .emoji_report_sheets import sheets, sheets_as_it_comes


def main() -> None:
    options = arguments().parse_args()
    with jax.default_matmul_precision("highest"):
        study = Study.open(
            options.checkpoint,
            options.judge,
            options.data,
            options.work,
            photographs=options.photographs,
            samples=options.samples,
            concepts=options.concepts,
            steps=options.steps,
            batch_size=options.batch_size,
        )
        folder = options.out / "emoji16"
        folder.mkdir(parents=True, exist_ok=True)
        parts = PARTS | {
            "sheets": lambda study: sheets(study, folder),
            "sheets_as_it_comes": lambda study: sheets_as_it_comes(study, folder),
        }
        for name in options.parts or [name for name in parts if options.judge or name not in JUDGED]:
            measured(name, parts[name], study, folder)
        tables = {name: read(folder / f"{name}.json") for name in parts}
        found = {
            name: table for name, table in tables.items() if table and same_weights(table["of"], study.identity(name))
        }
    for name, text in page(found).items():
        with write_whole(options.out / name) as place:
            place.write_text(text, encoding="utf-8")
    absent = [name for name in parts if name not in found]
    print(
        f"written: {options.out / 'emoji16.md'}; parts that are not there, or of other weights: "
        f"{', '.join(absent) or 'none'}"
    )


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="the model: a folder, or emoji for the embedded one")
    parser.add_argument("--judge", type=Path, help="file that python -m vqdiffusion_jax.evaluation.judge wrote")
    parser.add_argument(
        "--data", required=True, type=Path, help="folder that python -m vqdiffusion_jax.data.emoji wrote"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/results"), help="default docs/results")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/emoji_report"), help="for what is counted picture by picture"
    )
    parser.add_argument(
        "--photographs", type=Path, help="folder of one .npz of 64 x 64 photographs, to try the codec on"
    )
    parser.add_argument("--samples", type=int, default=1000, help="pictures that the main figures are of")
    parser.add_argument(
        "--concepts",
        type=int,
        default=EMBEDDED,
        help="what the model was trained on: the first so many of concepts.txt",
    )
    parser.add_argument(
        "--steps", type=int, default=25, help="of the exact posterior, where a table does not vary them"
    )
    parser.add_argument("--batch_size", type=int, default=8, help="pictures drawn together")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=[*PARTS, "sheets", "sheets_as_it_comes"],
        help="measure only these; the page has all that are there",
    )
    return parser


def measured(name: str, part, study: Study, folder: Path) -> None:
    """Write the part's JSON unless it is there, of the same weights and options."""
    path = folder / f"{name}.json"
    identity = study.identity(name)
    if (table := read(path)) and table["of"] == identity:
        print(f"{name}: {path} is there", flush=True)
        return
    print(f"{name}: begun", flush=True)
    begun = time.monotonic()
    result = part(study)
    table = {"of": identity, "measured": machine() | {"seconds": round(time.monotonic() - begun, 1)}, "result": result}
    with write_whole(path) as place:
        place.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{name}: written to {path} after {table['measured']['seconds']} s", flush=True)


def read(path: Path) -> dict | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def same_weights(one: dict, other: dict) -> bool:
    """Return whether a part is about the model, and by the judge if there is one, so that a page can hold it."""
    judge = other.get("judge") or one.get("judge")
    return one["model"] == other["model"] and one.get("judge") == judge


def machine() -> dict:
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device": jax.devices()[0].device_kind,
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "jax": jax.__version__,
    }


if __name__ == "__main__":
    exit_with_status(main)
