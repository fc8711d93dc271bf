"""The judge's verdicts on pictures, and their agreement with the scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ...batching import in_batches
from ...data.scenes.scene import Scene
from ...data.scenes.words import CANVAS
from ...errors import EvaluationError
from .model import BACKGROUNDS, LAYOUTS, STYLE_NAMES, Judge

BATCH = 50  # pictures together, on each device


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """The content of n pictures, as indices into BACKGROUNDS, LAYOUTS, the judge's concepts and STYLE_NAMES."""

    background: np.ndarray  # (n,) int
    layout: np.ndarray  # (n,) int
    concept: np.ndarray  # (n, 2) int, in reading order
    style: np.ndarray  # (n, 2) int


def judge_pictures(
    judge: Judge, pictures: np.ndarray, *, batch_size: int = BATCH, mesh: Mesh | None = None
) -> Verdicts:
    """Return the verdicts on ``pictures`` (n, 64, 64, 3) uint8, over the devices of ``mesh``.

    Raises EvaluationError for another shape or type.
    """
    return Verdicts(**in_batches(lambda part: _answers(judge, part), _checked(pictures), batch_size, mesh=mesh))


def judge_features(
    judge: Judge, pictures: np.ndarray, *, batch_size: int = BATCH, mesh: Mesh | None = None
) -> np.ndarray:
    """``Judge.features`` of ``pictures``, otherwise as ``judge_pictures``."""
    return in_batches(lambda part: _features(judge, part), _checked(pictures), batch_size, mesh=mesh)


@jax.jit
def _answers(judge: Judge, pictures: jax.Array) -> dict[str, jax.Array]:
    return {name: logits.argmax(-1) for name, logits in judge(_in_one(pictures)).items()}


@jax.jit
def _features(judge: Judge, pictures: jax.Array) -> jax.Array:
    return judge.features(_in_one(pictures))


def _in_one(pictures: jax.Array) -> jax.Array:
    return pictures.astype(jnp.float32) / 255.0


def _checked(pictures: np.ndarray) -> np.ndarray:
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[1:] != (CANVAS, CANVAS, 3):
        raise EvaluationError(
            f"pictures are {pictures.dtype} {pictures.shape}; the judge looks at uint8 (n, {CANVAS}, {CANVAS}, 3)"
        )
    return pictures


def truth(scenes: Sequence[Scene], concepts: Sequence[str]) -> Verdicts:
    """Return the verdicts of a perfect judge; -1 for an empty slot.  Raises EvaluationError for an unknown concept."""
    numbers = {concept: number for number, concept in enumerate(concepts)}
    slots = np.full((2, len(scenes), 2), -1)
    for row, scene in enumerate(scenes):
        for slot, placed in enumerate(scene.objects):
            if placed.concept not in numbers:
                raise EvaluationError(f"the judge does not know {placed.concept!r}; train one with more concepts")
            slots[:, row, slot] = numbers[placed.concept], STYLE_NAMES.index(placed.style)
    return Verdicts(
        background=np.array([BACKGROUNDS.index(scene.background) for scene in scenes]),
        layout=np.array([LAYOUTS.index(scene.axis) for scene in scenes]),
        concept=slots[0],
        style=slots[1],
    )


def agreement(verdicts: Verdicts, scenes: Sequence[Scene], concepts: Sequence[str]) -> dict[str, np.ndarray]:
    """Return by question whether each picture is right: float (n,), 1 or 0, nan for no question.

    ``background``; ``layout`` (one drawing, two side by side, or one above the other); ``concept``: all named concepts
    are there, in any order; ``relation``: of two drawings, both are there and in the right places; ``style``: every
    drawing in the right place has the right style.
    """
    wanted = truth(scenes, concepts)
    pairs = np.array([len(scene.objects) == 2 for scene in scenes])
    in_place = (verdicts.concept == wanted.concept) | (wanted.concept < 0)
    layout = verdicts.layout == wanted.layout
    either_way = in_place.all(1) | (pairs & (verdicts.concept[:, ::-1] == wanted.concept).all(1))
    # A single drawing must be alone, and of two both must be seen.
    concept = either_way & ((verdicts.layout > 0) == pairs)
    style = (verdicts.style == wanted.style) | (wanted.style < 0)
    return {
        "background": (verdicts.background == wanted.background).astype(float),
        "layout": layout.astype(float),
        "concept": concept.astype(float),
        "relation": np.where(pairs, layout & in_place.all(1), np.nan),
        "style": np.where(in_place.all(1), style.all(1), np.nan),
    }
