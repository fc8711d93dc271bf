"""Pictures in and out of files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

GIF_FRAMES = 50  # at most; longer runs are thinned
FRAME_MS = 80


def read_picture(path: Path, size: int) -> Image.Image:
    """An RGB picture, its centre square resized to size x size.  Raises ValueError if the file is no picture."""
    return _square(_open(path).convert("RGB"), size, Image.Resampling.BICUBIC)


def read_mask(path: Path, size: int) -> np.ndarray:
    """A mask (size, size) bool, True where the file is brighter than half, cropped as ``read_picture`` crops."""
    return np.asarray(_square(_open(path).convert("L"), size, Image.Resampling.NEAREST)) >= 128


def _open(path: Path) -> Image.Image:
    try:
        picture = Image.open(path)
        picture.load()
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path} cannot be read as a picture: {error}") from error
    return picture


def _square(picture: Image.Image, size: int, filter: Image.Resampling) -> Image.Image:
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.resize((size, size), filter, box=(left, top, left + side, top + side))


def grid(pictures: np.ndarray, columns: int | None = None) -> Image.Image:
    """Pictures (n, height, width, 3) uint8 side by side, in about as many rows as columns."""
    count, height, width, _ = pictures.shape
    columns = columns or math.ceil(math.sqrt(count))
    sheet = Image.new("RGB", (columns * width, math.ceil(count / columns) * height), "white")
    for i, picture in enumerate(pictures):
        sheet.paste(Image.fromarray(picture), (i % columns * width, i // columns * height))
    return sheet


def write(out: Path, start: int, result, pipeline, subjects: list[dict], record: dict, first_image: int) -> None:
    """One PNG, one JSON and, if there is a trajectory, one GIF a picture, and a grid of all; prints where they are.

    start: number of the first picture's files.  Over several processes each writes its own pictures, and no grid.
    """
    import vqdiffusion_jax

    numbers = _occurrences(subjects)
    for i, (index, picture) in enumerate(zip(result.indices, result.images, strict=True)):
        name = f"{start + index:06d}"
        # python main.py --mode=sample --again=THIS.json draws this very picture.
        again = record | subjects[index] | {"num_images": 1, "first_image": first_image + numbers[index]}
        again |= {"version": vqdiffusion_jax.__version__}
        if result.trajectory is not None:
            _write_gif(out / f"{name}.gif", result.trajectory[i], pipeline)
        (out / f"{name}.json").write_text(json.dumps(again, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        Image.fromarray(picture).save(out / f"{name}.png")
    if len(result.indices) == len(subjects):
        grid(result.images).save(out / "grid.png")
    print(f"written: {len(result.indices)} of {len(subjects)} pictures, {start:06d} to {start + len(subjects) - 1:06d}, in {out}")


def _occurrences(subjects: list[dict]) -> list[int]:
    """How many pictures of the same subject precede each."""
    seen: dict = {}
    numbers = []
    for subject in subjects:
        key = tuple(subject.items())
        numbers.append(seen.get(key, 0))
        seen[key] = numbers[-1] + 1
    return numbers


def first_free(out: Path) -> int:
    """The first number whose picture, and all after it, are not there: nothing is overwritten."""
    taken = [int(path.stem) for path in out.glob("*.png") if path.stem.isdigit()]
    return max(taken, default=-1) + 1


def _write_gif(path: Path, trajectory: np.ndarray, pipeline) -> None:
    """The denoising of one picture: (calls, length) tokens; places still [MASK] are grey."""
    keep = np.unique(np.linspace(0, len(trajectory) - 1, min(len(trajectory), GIF_FRAMES)).round().astype(int))
    frames = []
    for tokens in trajectory[keep]:
        masked = (tokens == pipeline.config.denoiser.mask_token).reshape(pipeline.config.codec.grid)
        picture = pipeline.decode(np.where(masked.reshape(-1), 0, tokens)[None])[0]
        cell = pipeline.config.codec.downsampling
        hidden = np.kron(masked, np.ones((cell, cell), bool))
        frames.append(Image.fromarray(np.where(hidden[..., None], np.uint8(128), picture)))
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[FRAME_MS] * (len(frames) - 1) + [1500], loop=0)
