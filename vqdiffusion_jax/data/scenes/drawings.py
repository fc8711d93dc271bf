"""The drawings that ``python -m vqdiffusion_jax.data.emoji`` wrote, by concept and style, at the sizes of scenes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ...errors import DataError
from ...user_arrays import read_npz
from ..records import existing
from ..tables import read_rows
from .words import SIZES, STYLES

ARRAY, TABLE = "emoji.npz", "captions.jsonl"


class Drawings:
    """Drawings with transparency; picklable: a copy in another process reads the file again.

    Args:
      root: folder of emoji.npz (``images`` (n, size, size, 4) uint8, straight alpha) and captions.jsonl.
      concepts: only these, in this order; by default all there are, in the order of the file.
    Raises DataError or FileNotFoundError in one line.
    """

    def __init__(self, root: Path, concepts: Sequence[str] | None = None):
        self._path = existing(root / ARRAY, "drawings; make them with python -m vqdiffusion_jax.data.emoji --out=DIR")
        rows = [row for _, row in read_rows(existing(root / TABLE, "one line a drawing"))]
        self._images = self._load()
        if len(rows) != len(self._images):
            raise DataError(
                f"{root / TABLE} has {len(rows)} lines but {self._path} {len(self._images)} images; "
                "build the folder again"
            )
        self._rows: dict[str, dict[str, int]] = {}
        for number, row in enumerate(rows):
            if row["style"] in STYLES:
                self._rows.setdefault(row["caption"].lower(), {})[row["style"]] = number
        if concepts is not None:
            if unknown := [concept for concept in concepts if concept not in self._rows]:
                raise DataError(
                    f"{root} has no drawing of {', '.join(map(repr, unknown[:5]))}; its {TABLE} says what there is"
                )
            self._rows = {concept: self._rows[concept] for concept in concepts}
        self._resized: dict[tuple[int, str], tuple[np.ndarray, np.ndarray]] = {}

    def _load(self) -> np.ndarray:
        try:
            images = read_npz(self._path, ("images",))["images"]
        except (KeyError, ValueError, OSError) as error:
            raise DataError(
                f"{self._path} holds no array 'images' that can be read ({error}); build it again"
            ) from error
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 4:
            raise DataError(
                f"{self._path}: images is {images.dtype} {images.shape}; it must be uint8 (n, size, size, 4)"
            )
        return images

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_images": None, "_resized": {}}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._images = self._load()

    @property
    def concepts(self) -> tuple[str, ...]:
        return tuple(self._rows)

    def styles_of(self, concept: str) -> dict[str, int]:
        """Style -> row of the drawing."""
        return self._rows[concept]

    def layers(self, row: int, size: str) -> tuple[np.ndarray, np.ndarray]:
        """Return a drawing at a size of words.SIZES, kept once made: colour times alpha, and 255 - alpha.

        Both are uint16: (pixels, pixels, 3) and (pixels, pixels, 1).
        """
        if (row, size) not in self._resized:
            pixels = SIZES[size]
            # Pillow resizes colours weighted by their alpha, so that what is invisible does not bleed into edges.
            picture = Image.fromarray(self._images[row]).resize((pixels, pixels), Image.Resampling.LANCZOS)
            rgba = np.asarray(picture).astype(np.uint16)
            self._resized[row, size] = (rgba[..., :3] * rgba[..., 3:], 255 - rgba[..., 3:])
        return self._resized[row, size]
