"""Scenes of emoji drawings, composed when they are read, so that nearly every example of a training run is new."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...errors import DataError
from ...text.known_words import KnownWords, words_of
from ..compositions.vocabulary import names_of
from ..config import SPLITS
from ..records import Record
from ..scenes.captions import caption, complete_caption, words_besides_names
from ..scenes.concepts import choose_concepts
from ..scenes.drawings import Drawings
from ..scenes.grammar import Grammar, draw_scene
from ..scenes.render import render
from ..scenes.scene import Scene
from ..scenes.words import CANVAS, COLOURS

_LENGTHS = {"train": 1_000_000, "validation": 10_000}
_LABELS = ("", "background", "concept")
_SCENE, _CAPTION = 0, 1  # streams of random numbers, so that a scene does not depend on how it is worded


class Scenes:
    """64 x 64 pictures with captions, composed of drawings from ``python -m vqdiffusion_jax.data.emoji`` in ``root``.

    Example i is drawn with a generator of (seed, split, i): access is random and nothing is kept.  Training never shows
    a held-out combination (``scenes.held_out``).

    Args:
      size: pixels a side; only 64.
      concepts: the first so many of scenes/concepts.txt (0: all), a file of names, or names.
      length: examples of the split; by default a million for training, 10,000 for validation.
      combinations: ``"seen"``, ``"held_out"`` (at least one in each scene is) or ``"both"``; training takes ``"seen"``.
      complete_rate: share of the captions that name everything in one fixed wording; the others vary and omit things.
      label: ``"background"`` or ``"concept"`` (then every scene has one drawing), for models with classes.
      pair_rate, plain_rate, white_rate, same_style_rate, jitter: see ``scenes.grammar.Grammar``.
    """

    has_splits = True

    def __init__(
        self,
        root: Path,
        split: str,
        *,
        size: int = CANVAS,
        concepts: int | str | Sequence[str] = 0,
        length: int = 0,
        seed: int = 0,
        combinations: str = "seen",
        complete_rate: float = 0.0,
        label: str = "",
        pair_rate: float = 0.4,
        plain_rate: float = 0.1,
        white_rate: float = 0.15,
        same_style_rate: float = 0.6,
        jitter: int = 0,
    ):
        if size != CANVAS:
            raise DataError(f"scenes: size is {size}; scenes are {CANVAS} pixels a side")
        if label not in _LABELS:
            raise DataError(f"scenes: label is {label!r}; allowed: {', '.join(map(repr, _LABELS))}")
        if not 0.0 <= complete_rate <= 1.0:
            raise DataError(f"scenes: complete_rate is {complete_rate}; it must lie in [0, 1]")
        if length < 0 or seed < 0:
            raise DataError(f"scenes: length is {length} and seed is {seed}; neither may be negative")
        if split == "train" and combinations != "seen":
            raise DataError(f"scenes: combinations is {combinations!r}; training shows 'seen' ones only")
        self.drawings = Drawings(root, choose_concepts(concepts))
        self.grammar = Grammar(
            pair_rate=0.0 if label == "concept" else pair_rate,
            plain_rate=plain_rate,
            white_rate=white_rate,
            same_style_rate=same_style_rate,
            jitter=jitter,
            combinations=combinations,
        )
        self._split, self._seed, self._length = SPLITS.index(split), seed, length or _LENGTHS[split]
        self._complete_rate, self._label = complete_rate, label
        self._classes = {"": (), "background": tuple(COLOURS), "concept": self.drawings.concepts}[label]

    @property
    def known_words(self) -> KnownWords:
        """The words of the captions, and other names of the concepts that no caption says."""
        return words_of_scenes(self.drawings.concepts)

    @property
    def num_classes(self) -> int | None:
        return len(self._classes) or None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, by label."""
        return self._classes

    def __len__(self) -> int:
        return self._length

    def scene(self, index: int) -> Scene:
        """Return the scene that example ``index`` shows."""
        return draw_scene(self.grammar, self.drawings, self._rng(index, _SCENE))

    def __getitem__(self, index: int) -> Record:
        scene = self.scene(index)
        words = self._caption(scene, self._rng(index, _CAPTION))
        record = Record(id=f"scene {index}", image=render(scene, self.drawings), captions=[words])
        if self._label:
            shown = scene.background if self._label == "background" else scene.objects[0].concept
            record["label"] = self._classes.index(shown)
        return record

    def _caption(self, scene: Scene, rng: np.random.Generator) -> str:
        # A rate of 0 takes nothing from the generator, and a rate of 1 needs nothing of it.
        return (
            complete_caption(scene)
            if self._complete_rate and rng.random() < self._complete_rate
            else caption(scene, rng)
        )

    def _rng(self, index: int, stream: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, self._split, int(index), stream))


def words_of_scenes(concepts: Sequence[str]) -> KnownWords:
    """Return the words of scenes of these concepts."""
    names = tuple(concept.replace("\u2019", "'") for concept in concepts)
    taught = words_besides_names().union(*map(words_of, names))
    synonyms = {
        word: name
        for name, others in zip(names, names_of(concepts).values(), strict=True)
        for other in others
        for word in (other.text, other.plural)
        if words_of(word) == [word] and word not in taught
    }
    return KnownWords(names, words_besides_names(), synonyms)
