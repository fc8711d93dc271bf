"""The drawings that ``python -m vqdiffusion_jax.data.emoji`` wrote, by concept and style, with their colours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from ...errors import DataError
from ...user_arrays import read_npz
from ..records import existing
from ..scenes.drawings import ARRAY, TABLE
from ..scenes.words import COLOURS
from ..tables import read_rows
from .colours import HUES, Palette, palette_of, recoloured, visible_share
from .vocabulary import names_of

_LEAST_COVER, _LEAST_VISIBLE = 0.12, 0.3
ANY_COLOUR = "plain"  # the style of shapes and letters, which have no colour of their own


class Library:
    """Drawings of some concepts in some styles; picklable: a copy in another process reads the file again.

    Drawings that do not show well are left out: they cover less than 12 % of their square, or less than 30 % of them
    stands out from white.

    Args:
      root: folder of emoji.npz (``images`` (n, size, size, 4) uint8, straight alpha) and captions.jsonl.
      concepts: lower-case concepts, in this order; those without a drawing are left out.
      styles: styles to use; all by default.
      recoloured: concepts that are given other colours, however many colours they have; by default those of which
        nearly all has one hue.  Plain shapes and letters always are.
      one_style_each: of each concept keep only the drawing in the first of ``styles`` that has one.
    Raises DataError or FileNotFoundError in one line.
    """

    def __init__(
        self,
        root: Path,
        concepts: Sequence[str],
        styles: Sequence[str] = (),
        recoloured: Sequence[str] | None = None,
        *,
        one_style_each: bool = False,
    ):
        self._path = existing(root / ARRAY, "drawings; make them with python -m vqdiffusion_jax.data.emoji --out=DIR")
        rows = [row for _, row in read_rows(existing(root / TABLE, "one line a drawing"))]
        if unknown := set(styles) - {row["style"] for row in rows}:
            raise DataError(f"{root} has no drawings in the style {min(unknown)!r}")
        self._images = self._load()
        if len(rows) != len(self._images):
            raise DataError(f"{root / TABLE} has {len(rows)} lines for {len(self._images)} images; build it again")
        self.rows = rows
        found: dict[str, dict[str, int]] = {concept: {} for concept in concepts}
        for number, row in enumerate(rows):
            styled = found.get(row["caption"].lower())
            if styled is not None and (not styles or row["style"] in styles) and _shows_well(self._images[number]):
                styled[row["style"]] = number
        if one_style_each:
            found = {concept: _first(styled, styles) for concept, styled in found.items()}
        self._rows = {concept: styled for concept, styled in found.items() if styled}
        if len(self._rows) < 2:
            raise DataError(f"{root} has drawings of {len(self._rows)} of {len(concepts)} concepts; two are needed")
        if unknown := set(recoloured or ()) - set(concepts):
            raise DataError(f"recoloured names {min(unknown)!r}, which is not among the concepts")
        self._recoloured = None if recoloured is None else frozenset(recoloured)
        self.names = names_of(tuple(self._rows))
        self._countable = {c for c, names in self.names.items() if any(name.kind == "count" for name in names)}
        self._layers: dict[tuple[int, int, str], tuple[np.ndarray, np.ndarray]] = {}
        self._palettes: dict[int, Palette] = {}
        self._visible: dict[tuple[int, str, str], bool] = {}

    def _load(self) -> np.ndarray:
        try:
            return read_npz(self._path, ("images",))["images"]
        except (KeyError, ValueError, OSError) as error:
            raise DataError(
                f"{self._path} holds no array 'images' that can be read ({error}); build it again"
            ) from error

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_images": None, "_layers": {}, "_visible": {}}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._images = self._load()

    @cached_property
    def concepts(self) -> tuple[str, ...]:
        return tuple(self._rows)

    def styles_of(self, concept: str) -> dict[str, int]:
        """Style -> row of the drawing."""
        return self._rows[concept]

    def counts(self, concept: str) -> bool:
        """Return whether there can be two of it."""
        return concept in self._countable

    def palette(self, row: int) -> Palette:
        """Return the dominant colour of a drawing."""
        if row not in self._palettes:
            self._palettes[row] = palette_of(self._images[row])
        return self._palettes[row]

    def colours_of(self, row: int) -> tuple[str, ...]:
        """Return the colours that a drawing can be given; none where it has several of its own or is not to change."""
        palette = self.palette(row)
        if self._recoloured is None or self.rows[row]["style"] == ANY_COLOUR:
            return HUES if palette.can_change else ()
        # Its own colour made anew would be a second picture of the same words.
        others = tuple(colour for colour in HUES if colour != palette.word)
        return others if self.rows[row]["caption"].lower() in self._recoloured and palette.chroma else ()

    def shows_on(self, row: int, colour: str, background: str) -> bool:
        """Return whether the drawing, in ``colour``, stands out from a background."""
        key = (row, colour, background)
        if key not in self._visible:
            self._visible[key] = visible_share(self._rgba(row, 24, colour), COLOURS[background]) > _LEAST_VISIBLE
        return self._visible[key]

    def layers(self, row: int, side: int, colour: str = "") -> tuple[np.ndarray, np.ndarray]:
        """Return a drawing ``side`` pixels wide, kept once made.

        Returns:
          Colour times alpha (side, side, 3) and 255 - alpha (side, side, 1), both uint16.
        """
        key = (row, side, colour)
        if key not in self._layers:
            rgba = self._rgba(row, side, colour).astype(np.uint16)
            self._layers[key] = (rgba[..., :3] * rgba[..., 3:], 255 - rgba[..., 3:])
        return self._layers[key]

    def _rgba(self, row: int, side: int, colour: str) -> np.ndarray:
        # Pillow resizes colours weighted by their alpha, so that what is invisible does not bleed into edges.
        rgba = np.asarray(Image.fromarray(self._images[row]).resize((side, side), Image.Resampling.LANCZOS))
        return recoloured(rgba, self.palette(row), colour) if colour else rgba


def _first(styled: dict[str, int], styles: Sequence[str]) -> dict[str, int]:
    return {style: styled[style] for style in [style for style in styles if style in styled][:1]}


def _shows_well(rgba: np.ndarray) -> bool:
    return rgba[..., 3].mean() / 255 > _LEAST_COVER and visible_share(rgba[::2, ::2], COLOURS["white"]) > _LEAST_VISIBLE
