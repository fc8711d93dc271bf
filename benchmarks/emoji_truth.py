"""The true pictures of a prompt, as tokens: what an exact sampler of an exact model would draw.

The scenes that the embedded model was trained on are known one by one, drawings, places and backgrounds.  So a picture
can be compared with every scene that its prompt is true of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from vqdiffusion_jax import VQDiffusionPipeline
from vqdiffusion_jax.data.scenes import Drawings, Placed, Scene
from vqdiffusion_jax.data.scenes.captions import complete_caption
from vqdiffusion_jax.data.scenes.grammar import Grammar, draw_scene
from vqdiffusion_jax.data.scenes.held_out import is_held_out
from vqdiffusion_jax.data.scenes.render import render

KINDS = ("names", "pairs", "captions")
_RELATIONS = {"horizontal": "to the left of", "vertical": "above"}


@dataclass(frozen=True)
class Question:
    """A prompt, and the scenes that it is true of; ``styles`` of the drawings of each, in reading order."""

    prompt: str
    scenes: tuple[Scene, ...]

    @property
    def styles(self) -> list[tuple[str, ...]]:
        return [tuple(placed.style for placed in scene.objects) for scene in self.scenes]


def question(kind: str, number: int, drawings: Drawings) -> Question:
    """Return question ``number`` of a kind, the same in every run.

    names: a name alone, each concept in turn: one large drawing on white, in any style.
    pairs: two names, how they lie and the background; the styles are left open.
    captions: all of a scene of one or two drawings, of which there is one.
    """
    if kind == "names":
        concept = drawings.concepts[number % len(drawings.concepts)]
        return Question(concept, tuple(_plain(drawings, concept)))
    rng = np.random.default_rng((KINDS.index(kind), number))
    pair_rate = 1.0 if kind == "pairs" else 0.5
    grammar = Grammar(pair_rate=pair_rate, plain_rate=0.0, white_rate=0.0, combinations="both")
    scene = draw_scene(grammar, drawings, rng)
    if kind == "captions":
        return Question(complete_caption(scene), (scene,))
    one, other = (f"{'an' if placed.concept[0] in 'aeiou' else 'a'} {placed.concept}" for placed in scene.objects)
    told = f"{one} {_RELATIONS[scene.axis]} {other} on a {scene.background} background"
    return Question(told, tuple(_in_any_style(scene, drawings)))


def seen_styles(concept: str, drawings: Drawings) -> list[str]:
    """Return the styles in which training shows a concept; under its name alone, each equally often."""
    return [style for style in drawings.styles_of(concept) if not is_held_out(("style", concept, style))]


class Grids:
    """Tokens of scenes, each encoded once."""

    def __init__(self, pipeline: VQDiffusionPipeline, drawings: Drawings):
        self._pipeline, self._drawings = pipeline, drawings
        self._known: dict[Scene, np.ndarray] = {}

    def of(self, scenes: Sequence[Scene]) -> np.ndarray:
        """Return the tokens (scenes, length) int32."""
        new = [scene for scene in dict.fromkeys(scenes) if scene not in self._known]
        if new:
            pictures = np.stack([render(scene, self._drawings) for scene in new])
            self._known |= dict(zip(new, self._pipeline.encode(pictures), strict=True))
        return np.stack([self._known[scene] for scene in scenes])

    def nearest(self, asked: Question, tokens: np.ndarray) -> tuple[int, int]:
        """Return how many of ``tokens`` (length,) differ from those of the nearest true scene, and its number."""
        wrong = (self.of(asked.scenes) != tokens).sum(axis=1)
        return int(wrong.min()), int(wrong.argmin())


def _plain(drawings: Drawings, concept: str) -> list[Scene]:
    return [
        Scene(objects=(Placed(drawing=row, concept=concept, style=style, size="large", position="centre"),),
              background="white", plain=True)
        for style, row in drawings.styles_of(concept).items()
    ]  # fmt: skip


def _in_any_style(scene: Scene, drawings: Drawings) -> list[Scene]:
    choices = [
        [replace(placed, style=style, drawing=row) for style, row in drawings.styles_of(placed.concept).items()]
        for placed in scene.objects
    ]
    return [replace(scene, objects=objects) for objects in product(*choices)]
