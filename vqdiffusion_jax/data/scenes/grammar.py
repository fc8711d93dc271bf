"""Scenes at random: what is drawn how often, and which combinations may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...errors import ConfigError, DataError
from .drawings import Drawings
from .held_out import held_out_of
from .scene import Placed, Scene
from .words import AXES, COLOURS, PAIR_SIZE, POSITIONS, SIZES

COMBINATIONS = ("seen", "held_out", "both")
_TRIES = 1000  # of which all fail only where hardly a combination is allowed
_MAX_JITTER = 2  # pixels: the gap between a small drawing and its cell


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """The frequency of each kind of scene.  The rest are single drawings of any size, position and background."""

    pair_rate: float = 0.4  # two small drawings, side by side or one above the other
    plain_rate: float = 0.1  # one large drawing on white whose caption is its name
    white_rate: float = 0.15  # of the other scenes, on white: backgrounds are otherwise equally frequent
    same_style_rate: float = 0.6  # of pairs, drawn in one style
    jitter: int = 0  # pixels by which a drawing may be moved either way; 0 keeps drawings on a codec's grid
    combinations: str = "seen"  # or "held_out": at least one combination of the scene is; "both": either

    def __post_init__(self):
        for name in ("pair_rate", "plain_rate", "white_rate", "same_style_rate"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"Grammar.{name} is {getattr(self, name)!r}; it must lie in [0, 1]")
        if self.pair_rate + self.plain_rate > 1.0:
            raise ConfigError(
                f"Grammar.pair_rate + plain_rate is {self.pair_rate + self.plain_rate}; it must be at most 1"
            )
        if self.jitter not in range(_MAX_JITTER + 1):
            raise ConfigError(
                f"Grammar.jitter is {self.jitter!r}; it must be 0 to {_MAX_JITTER}: drawings must not touch"
            )
        if self.combinations not in COMBINATIONS:
            raise ConfigError(f"Grammar.combinations is {self.combinations!r}; allowed: {', '.join(COMBINATIONS)}")


def draw_scene(grammar: Grammar, drawings: Drawings, rng: np.random.Generator) -> Scene:
    """Return a scene whose combinations are as ``grammar.combinations`` says.  Raises DataError if none is found."""
    for _ in range(_TRIES):
        scene = _any_scene(grammar, drawings, rng)
        if grammar.combinations == "both" or bool(held_out_of(scene.combinations)) == (
            grammar.combinations == "held_out"
        ):
            return scene
    raise DataError(
        f"of {_TRIES} scenes none had {grammar.combinations} combinations; use more concepts or other rates"
    )


def _any_scene(grammar: Grammar, drawings: Drawings, rng: np.random.Generator) -> Scene:
    kind, white = rng.random(2)
    if kind < grammar.plain_rate:
        return Scene(
            objects=(_placed(drawings, rng, _concept(drawings, rng), "large", "centre"),),
            background="white",
            plain=True,
        )
    background = "white" if white < grammar.white_rate else _one_of(tuple(COLOURS), rng)
    if kind < grammar.plain_rate + grammar.pair_rate:
        return _jittered(_pair(grammar, drawings, rng, background), grammar.jitter, rng)
    size = _one_of(tuple(SIZES), rng)
    position = "centre" if size == "large" else _one_of(tuple(POSITIONS), rng)
    scene = Scene(objects=(_placed(drawings, rng, _concept(drawings, rng), size, position),), background=background)
    return _jittered(scene, grammar.jitter, rng)


def _pair(grammar: Grammar, drawings: Drawings, rng: np.random.Generator, background: str) -> Scene:
    axis = _one_of(tuple(AXES), rng)
    first, second = (drawings.concepts[i] for i in _two_different(len(drawings.concepts), rng))
    one = _placed(drawings, rng, first, PAIR_SIZE, AXES[axis][0])
    wanted = one.style if rng.random() < grammar.same_style_rate else ""
    other = _placed(drawings, rng, second, PAIR_SIZE, AXES[axis][1], wanted)
    return Scene(objects=(one, other), background=background, axis=axis)


def _placed(
    drawings: Drawings, rng: np.random.Generator, concept: str, size: str, position: str, wanted: str = ""
) -> Placed:
    """Return the concept in the wanted style if it is drawn in that one, else in any of its styles."""
    styles = drawings.styles_of(concept)
    style = wanted if wanted in styles else _one_of(tuple(styles), rng)
    return Placed(drawing=styles[style], concept=concept, style=style, size=size, position=position)


def _jittered(scene: Scene, jitter: int, rng: np.random.Generator) -> Scene:
    if not jitter:
        return scene
    shifts = rng.integers(-jitter, jitter + 1, (len(scene.objects), 2)).tolist()
    return replace(
        scene, objects=tuple(replace(o, shift=tuple(shift)) for o, shift in zip(scene.objects, shifts, strict=True))
    )


def _concept(drawings: Drawings, rng: np.random.Generator) -> str:
    return _one_of(drawings.concepts, rng)


def _one_of(things: Sequence[str], rng: np.random.Generator) -> str:
    return things[int(rng.random() * len(things))]  # several times as fast as rng.choice


def _two_different(count: int, rng: np.random.Generator) -> tuple[int, int]:
    first, second = int(rng.random() * count), int(rng.random() * (count - 1))
    return first, second + (second >= first)
