"""Contact sheets of generated pictures with their captions; no real picture is on any of them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vqdiffusion_jax.data.compositions.prompts import Prompt, read_prompts
from vqdiffusion_jax.data.scenes.captions import complete_caption
from vqdiffusion_jax.data.scenes.questions import ROUND, Kind
from vqdiffusion_jax.files import write_whole

from .emoji_report_exact import names
from .emoji_report_parts import STRATEGIES, UNKNOWN_WORDS, Study
from .emoji_truth import question

SCALE = 2  # screen pixels a pixel
CHARACTERS, LINE, LINES = 23, 12, 5  # of a caption below a picture of 128 screen pixels
MOST_BYTES = 300_000
COLUMNS, ROWS = 6, 3
# Settings of the model's own, in place of the protocol's.
AS_IT_COMES = {"strategy": "maskgit", "num_inference_steps": 20, "guidance_scale": 1.0, "truncation_rate": 0.5}
TYPED = {
    "plain_prompts": (
        "Prompts as people type them, of things that it knows; it was taught no synonyms",
        ("name", "synonym"),
    ),
    "counts": ("Counts: the model was taught none", ("count",)),
    "colours": ("Colours of things: the model was taught none, and colours the background", ("colour",)),
    "pairs_typed": ("Pairs and relations as people type them", ("pair", "relation")),
}
FAILURES = "Failures: of 1,000 names alone, the 18 with the most wrong tokens of 64"


def sheets(study: Study, folder: Path) -> list[dict[str, str]]:
    """Draw and write the sheets of the protocol and of other strategies; return what is on each."""
    made, write = _writer(folder)
    kinds = {
        "seen": ("One drawing that training has seen, on a background that it has seen it on", [Kind(1, "")]),
        "held_out": (
            "One drawing, its style or its background never shown with it",
            [Kind(1, "background"), Kind(1, "style")],
        ),
        "pairs_seen": ("Two drawings, combinations that training shows", [Kind(2, "")]),
        "pairs_held_out": ("Two drawings that never lie so in training", [Kind(2, "relation")]),
    }
    for name, (title, wanted) in kinds.items():
        prompts = _questions(study, wanted, COLUMNS * ROWS)
        write(name, title, study.draw(prompts, seed=list(range(len(prompts))))[:, 0], prompts)
    few = study.names[:4]
    drawn = study.draw(few, COLUMNS)
    repeated = [name for name in few for _ in range(COLUMNS)]
    write("seeds", "One prompt a row, one seed a column", _flat(drawn), repeated)
    prompts = _questions(study, ROUND, COLUMNS)
    rows = [study.draw(prompts, **changes)[:, 0] for changes in STRATEGIES.values()]
    captions = [f"{name}: {prompt}" for name in STRATEGIES for prompt in prompts]
    write("strategies", "One strategy a row, equal prompts and seeds", np.concatenate(rows), captions)
    untold = study.draw([""], 2 * COLUMNS, guidance_scale=0.0)[0]
    write("unconditional", "Without a text: the null condition alone", untold, [""] * len(untold))
    unknown = study.draw(UNKNOWN_WORDS)[:, 0]
    write("unknown_words", "Words that training never shows", unknown, UNKNOWN_WORDS, 4)
    return made


def sheets_as_it_comes(study: Study, folder: Path) -> list[dict[str, str]]:
    """Draw and write the sheets of what people type, by the model's own settings; return what is on each."""
    made, write = _writer(folder)
    write(
        "names",
        "Names alone: single drawings that training has seen",
        _flat(study.draw(study.names, **AS_IT_COMES)),
        study.names,
    )
    listed = read_prompts()
    for name, (title, wanted) in TYPED.items():
        prompts = _typed(listed, wanted, frozenset(study.names))
        write(name, title, study.draw(prompts, seed=list(range(len(prompts))), **AS_IT_COMES)[:, 0], prompts)
    worst = names(study.pipeline, study.source.drawings, study.work, study.samples)[0]
    numbers = worst["worst"]
    asked = [question("names", number, study.source.drawings).prompt for number in numbers]
    told = [f"{one}: {wrong} wrong" for one, wrong in zip(asked, worst["worst_wrong"], strict=True)]
    write("failures", FAILURES, study.draw(asked, seed=numbers, **AS_IT_COMES)[:, 0], told)
    return made


def _writer(folder: Path) -> tuple[list[dict[str, str]], Callable[..., None]]:
    """Return a list of what is written, and a function that writes a sheet."""
    made: list[dict[str, str]] = []

    def write(name: str, title: str, pictures: np.ndarray, captions: Sequence[str], columns: int = COLUMNS) -> None:
        save_small(sheet(pictures, captions, columns), folder / f"{name}.png")
        made.append({"file": f"{name}.png", "title": title})

    return made, write


def _typed(listed: Sequence[Prompt], kinds: Sequence[str], known: frozenset[str]) -> list[str]:
    """Return the listed prompts of these kinds that ask for known things alone, as many as a sheet holds."""
    fitting = [
        one.prompt
        for one in listed
        if one.kind in kinds and all(not known.isdisjoint(thing.concepts) for thing in one.objects)
    ]
    return fitting[: COLUMNS * ROWS]


def sheet(pictures: np.ndarray, captions: Sequence[str], columns: int) -> Image.Image:
    """Pictures (n, height, width, 3) uint8, enlarged, each above its caption."""
    font = ImageFont.load_default()
    height, width = (SCALE * pixels for pixels in pictures.shape[1:3])
    lines = [textwrap.wrap(_drawable(caption), CHARACTERS, max_lines=LINES, placeholder="...") for caption in captions]
    cell_width, cell_height = width + 8, height + 10 + LINE * max(map(len, lines))
    canvas = Image.new("RGB", (columns * cell_width, -(-len(pictures) // columns) * cell_height), "white")
    pen = ImageDraw.Draw(canvas)
    for number, (picture, text) in enumerate(zip(pictures, lines, strict=True)):
        left, top = number % columns * cell_width + 4, number // columns * cell_height + 4
        pen.rectangle((left - 1, top - 1, left + width, top + height), outline="#bbbbbb")
        canvas.paste(Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST), (left, top))
        for row, line in enumerate(text):
            pen.text((left, top + height + 2 + LINE * row), line, fill="black", font=font)
    return canvas


def save_small(picture: Image.Image, path: Path) -> None:
    """A PNG of at most 300 kB, of as many colours as that allows, if 16 are few enough."""
    for colours in (256, 128, 64, 32, 16):
        with write_whole(path) as place:
            picture.quantize(colours, dither=Image.Dither.NONE).save(place, format="PNG", optimize=True)
        if path.stat().st_size <= MOST_BYTES:
            break


def _drawable(caption: str) -> str:
    """Return the text with characters that Pillow's own font lacks as their code points."""
    return caption.encode("latin-1", "backslashreplace").decode("latin-1")


def _questions(study: Study, kinds: Sequence[Kind], count: int) -> list[str]:
    """Return the captions of the first questions of these kinds."""
    scenes = (study.source.scene(number) for number in range(len(study.source)))
    return [complete_caption(scene) for scene in scenes if Kind.of(scene) in kinds][:count]


def _flat(pictures: np.ndarray) -> np.ndarray:
    return pictures.reshape(-1, *pictures.shape[2:])
