"""Composed scenes that a model is judged by: their captions, which it draws, and their real pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import DataError
from ..records import Record
from ..scenes.captions import complete_caption
from ..scenes.questions import choose_questions
from ..scenes.render import render
from ..scenes.scene import Scene
from .scenes import Scenes

_TRIES = 2000  # scenes drawn at most for each question


class SceneQuestions:
    """64 x 64 pictures of the drawings in ``root``, in fixed numbers of each kind, with complete captions.

    Half of them show combinations that training shows, half held-out ones (``scenes.questions.ROUND``).  All background
    colours are equally frequent.

    Args:
      concepts: the model's concepts: a number of scenes/concepts.txt's first ones (0: all), a file of names, or names.
      length: number of questions.
      seed: seed of the scenes.
    Raises DataError for the split "train", or if the drawings do not make scenes of every kind.
    """

    has_splits = True

    def __init__(
        self, root: Path, split: str, *, concepts: int | str | Sequence[str] = 0, length: int = 1000, seed: int = 0
    ):
        if split != "validation":
            raise DataError(f"scene_questions are never trained on; take them as the split 'validation', not {split!r}")
        if length < 1:
            raise DataError(f"scene_questions: length is {length}; it must be at least 1")
        scenes = Scenes(
            root,
            split,
            concepts=concepts,
            seed=seed,
            combinations="both",
            pair_rate=0.5,
            plain_rate=0.0,
            white_rate=0.0,
        )
        self.drawings = scenes.drawings
        self._questions = choose_questions((scenes.scene(index) for index in range(_TRIES * length)), length)

    def __len__(self) -> int:
        return len(self._questions)

    def scene(self, index: int) -> Scene:
        """Return the scene that question ``index`` asks for."""
        return self._questions[index]

    def __getitem__(self, index: int) -> Record:
        scene = self.scene(index)
        return Record(id=f"question {index}", image=render(scene, self.drawings), captions=[complete_caption(scene)])
