"""Files of a run: a PNG, a JSON and perhaps an animation a picture, and a grid."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ..files import write_whole
from ..pictures import fit_mask, open_picture  # noqa: F401  (their former place, kept for one release)
from ..pictures.png_text import png_info
from ..recipe import json_of, recipe_of_one, texts_of_png
from ..sampling.seeds import occurrences
from .animation import FORMATS, write_animation

if TYPE_CHECKING:
    from ..pipeline import VQDiffusionOutput, VQDiffusionPipeline

FRAMES = 50  # of an animation, at most; longer runs are thinned
GRID = "grid-"  # and the number of its first picture
GRID_PICTURES = 64  # at most; the first ones


def grid(pictures: np.ndarray, columns: int | None = None) -> Image.Image:
    """Return pictures (n, height, width, 3) uint8 side by side, by default in about as many rows as columns."""
    count, height, width, _ = pictures.shape
    columns = columns or math.ceil(math.sqrt(count))
    sheet = Image.new("RGB", (columns * width, math.ceil(count / columns) * height), "white")
    for i, picture in enumerate(pictures):
        sheet.paste(Image.fromarray(picture), (i % columns * width, i // columns * height))
    return sheet


class Writer:
    """The writer of a run's pictures: a PNG, a JSON and, with a trajectory, an animation each; at the end a grid.

    The JSON, from which --again draws the very picture, stands inside the PNG too.  Each file appears whole or not at
    all, a picture's PNG last.  Only its JSON is empty for a moment, to reserve the number; a number that another run
    has reserved is left out.  The grid shows the run's first pictures and has the number of the first.  Of several
    processes each writes its own pictures, and none a grid.

    out: folder.  start: number of the first picture's files.  subjects: the settings of each picture's own.
    record: the recipe that all share.  first_image: number of the first picture of each subject.
    animation: the format of animations, one of FORMATS.
    """

    def __init__(
        self, out: Path, start: int, subjects: list[dict], record: dict, first_image: int, animation: str = "gif"
    ):
        self.animation = animation
        self.out, self.start, self.subjects, self.record, self.first_image = out, start, subjects, record, first_image
        # As the noise counts them: pictures of one prompt and two negative prompts have different numbers.
        of_noise = (tuple((n, value) for n, value in one.items() if n != "negative_prompt") for one in subjects)
        self.occurrences = occurrences(of_noise)
        self.written: list[str] = []
        self.shown: list[np.ndarray] = []

    def add(self, result: VQDiffusionOutput, pipeline: VQDiffusionPipeline, steps: int | None = None) -> None:
        """Write a batch of the run's pictures.  steps: network calls that each took."""
        for i, (index, picture) in enumerate(zip(result.indices, result.images, strict=True)):
            again = self.recipe(index)
            with self._number(index) as name:
                with write_whole(self.out / f"{name}.json") as place:
                    place.write_text(json_of(again), encoding="utf-8")
                if result.trajectory is not None:
                    with write_whole(self.out / f"{name}.{self.animation}") as place:
                        write_animation(place, self.animation, list(frames(result.trajectory[i], pipeline, FRAMES)))
                with write_whole(self.out / f"{name}.png") as place:
                    height, width = picture.shape[:2]
                    told = png_info(texts_of_png(again, (width, height), steps))
                    Image.fromarray(picture).save(place, format="PNG", pnginfo=told)
            self.written.append(name)
            if len(self.shown) < GRID_PICTURES:
                self.shown.append(picture)

    def recipe(self, index: int) -> dict[str, Any]:
        """Return the recipe of picture ``index``."""
        return recipe_of_one(self.record, self.first_image + self.occurrences[index], **self.subjects[index])

    @contextmanager
    def _number(self, index: int) -> Iterator[str]:
        """Reserve a number for picture ``index`` and yield it; release it if the picture's files cannot be written."""
        while True:
            name = f"{self.start + index:06d}"
            try:
                (self.out / f"{name}.json").touch(exist_ok=False)  # of several runs one alone succeeds
                break
            except FileExistsError:
                self.start += 1
        try:
            yield name
        except BaseException:
            self._remove(name)
            raise

    def _remove(self, name: str) -> None:
        for ending in (self.animation, "json"):
            (self.out / f"{name}.{ending}").unlink(missing_ok=True)

    def finish(self) -> None:
        """Write the grid, and print the numbers and the folder of the run's files."""
        count, done = len(self.subjects), self.written
        if len(done) == count:
            with write_whole(self.out / f"{GRID}{done[0]}.png") as place:
                grid(np.stack(self.shown)).save(place, format="PNG")
        numbers = " to ".join(dict.fromkeys(done[:1] + done[-1:]))
        print(f"written: {len(done)} of {count} pictures{', ' if done else ''}{numbers}, in {self.out}")


def first_free(out: Path) -> int:
    """Return the first number above those of all files, as any process sees the folder.  All processes call this."""
    from ..multihost import all_gather

    endings = (".png", ".json", *(f".{form}" for form in FORMATS))
    numbers = [path.stem.removeprefix(GRID) for path in out.iterdir() if path.suffix in endings]
    # Longer numbers are dates in the names of other files.
    taken = [int(number) for number in numbers if number.isdecimal() and len(number) < 10]
    # Gathering also waits for every process, so that none writes before all have looked.
    return int(all_gather(np.array(max(taken, default=-1), np.int32)).max()) + 1


def frames(trajectory: np.ndarray, pipeline: VQDiffusionPipeline, count: int) -> np.ndarray:
    """Return at most ``count`` pictures of a trajectory, uint8 (n, height, width, 3), with [MASK] in grey.

    trajectory: (calls, length) tokens of one picture.
    """
    keep = np.unique(np.linspace(0, len(trajectory) - 1, min(len(trajectory), count)).round().astype(int))
    masked = trajectory[keep] == pipeline.config.denoiser.mask_token
    cell = pipeline.config.codec.downsampling
    hidden = np.kron(masked.reshape(-1, *pipeline.config.codec.grid), np.ones((1, cell, cell), bool))
    return np.where(hidden[..., None], np.uint8(128), pipeline.decode(np.where(masked, 0, trajectory[keep])))
