"""Pictures of one to five drawings, composed while they are read, with captions as people type them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from ...text.known_words import KnownWords, words_of
from ..compositions.captions import caption, words_besides_names
from ..compositions.composition import Composition
from ..compositions.grammar import Grammar, draw_composition
from ..compositions.layouts import CANVAS
from ..compositions.library import Library
from ..compositions.render import render
from ..compositions.vocabulary import Name, choose_concepts
from ..config import SPLITS
from ..records import Record

_LENGTHS = {"train": 4_000_000, "validation": 10_000}
_PICTURE, _CAPTION = 0, 1  # streams of random numbers, so that a picture does not depend on how it is worded


class Compositions:
    """Pictures with captions, composed of drawings from ``python -m vqdiffusion_jax.data.emoji`` in ``root``.

    Example i is drawn with a generator of (seed, split, i): access is random and nothing is kept.  Training never shows
    a held-out combination (``scenes.held_out``).

    Args:
      size: pixels a side, a multiple of 64; build the drawings at that size.
      concepts: the first so many of compositions/vocabulary.txt (0: all), ``"all"`` with those of scenes/concepts.txt,
        or names.
      styles: styles of the drawings; all by default.
      recoloured: names of the concepts that are given other colours; by default those of which nearly all has one hue.
      one_style_each: of each concept only the drawing in the first of ``styles`` that has one.
      length: examples of the split; by default four million for training, 10,000 for validation.
      combinations: ``"seen"``, ``"held_out"`` (at least one in each picture is) or ``"both"``; training takes
        ``"seen"``.
      grammar: shares of kinds of pictures, as in ``compositions.grammar.Grammar``.
    """

    has_splits = True

    def __init__(
        self,
        root: Path,
        split: str,
        *,
        size: int = CANVAS,
        concepts: int | str | Sequence[str] = 0,
        styles: Sequence[str] = (),
        recoloured: Sequence[str] | None = None,
        one_style_each: bool = False,
        length: int = 0,
        seed: int = 0,
        combinations: str = "seen",
        grammar: dict[str, Any] | None = None,
    ):
        if size < CANVAS or size % CANVAS:
            raise DataError(f"compositions: size is {size}; it must be a multiple of {CANVAS} pixels")
        if length < 0 or seed < 0:
            raise DataError(f"compositions: length is {length} and seed is {seed}; neither may be negative")
        if split == "train" and combinations != "seen":
            raise DataError(f"compositions: combinations is {combinations!r}; training shows 'seen' ones only")
        self.library = Library(
            root, choose_concepts(concepts), tuple(styles), recoloured, one_style_each=one_style_each
        )
        self.grammar = Grammar(combinations=combinations, **_with_tuples(grammar or {}))
        self._scale = size // CANVAS
        self._split, self._seed, self._length = SPLITS.index(split), seed, length or _LENGTHS[split]

    @property
    def known_words(self) -> KnownWords:
        """The words of the captions, in which a thing has several names."""
        return words_of_compositions(self.library.names)

    def __len__(self) -> int:
        return self._length

    def composition(self, index: int) -> Composition:
        """Return the composition that example ``index`` shows."""
        return draw_composition(self.grammar, self.library, self._rng(index, _PICTURE))

    def __getitem__(self, index: int) -> Record:
        composition = self.composition(index)
        words = caption(composition, self.library, self._rng(index, _CAPTION))
        return Record(id=f"composition {index}", image=render(composition, self.library, self._scale), captions=[words])

    def _rng(self, index: int, stream: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, self._split, int(index), stream))


def _with_tuples(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings whose lists, as JSON has them, are tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}


def words_of_compositions(names: Mapping[str, Sequence[Name]]) -> KnownWords:
    """Return the words of compositions of things with these names: the usual names, then the others.

    Plurals are among the other words, since no thing is called by one.
    """
    usual = [several[0].text for several in names.values()]
    others = [name.text for several in names.values() for name in several[1:]]
    known = words_besides_names()
    plurals = {word for several in names.values() for name in several for word in words_of(name.plural)}
    own = {word for name in (*usual, *others) for word in words_of(name)}
    return KnownWords(tuple(dict.fromkeys([*usual, *others])), known | (plurals - own))
