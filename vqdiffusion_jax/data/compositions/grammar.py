"""Compositions at random: what is drawn how often, and which combinations may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import ConfigError, DataError
from ..scenes.grammar import COMBINATIONS
from ..scenes.held_out import held_out_of
from ..scenes.words import COLOURS
from .colours import HUES
from .composition import Composition, Thing
from .layouts import FULL, GROUPS, PAIRS, PLACES
from .library import ANY_COLOUR, Library

_TRIES = 1000
KINDS_HELD_OUT = ("style", "background", "colour", "relation")
_KINDS = ("large", "small", "pair", "count", "mixed")


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """The frequency of each kind of picture."""

    large: float = 0.50  # one large drawing in the middle
    small: float = 0.08  # one small drawing in one of nine places
    pair: float = 0.20  # two different small drawings, beside or above one another
    count: float = 0.17  # two to five of one thing
    mixed: float = 0.05  # three small drawings of two or three things
    vertical_rate: float = 0.5  # of pairs, one above the other
    white_rate: float = 0.5  # on white; all backgrounds are otherwise equally frequent
    colour_rate: float = 0.2  # of drawings that can be given another colour, have one
    same_style_rate: float = 0.6  # of pictures of several things, drawn in one style
    mirror_rate: float = 0.0
    combinations: str = "seen"  # or "held_out": at least one combination is; "both": either
    # Kinds of combinations of which some are held out.  Leave out "style" where there is one: its concepts would go.
    kinds_held_out: tuple[str, ...] = KINDS_HELD_OUT

    def __post_init__(self):
        for name in (*_KINDS, "vertical_rate", "white_rate", "colour_rate", "same_style_rate", "mirror_rate"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"Grammar.{name} is {getattr(self, name)!r}; it must lie in [0, 1]")
        total = sum(getattr(self, kind) for kind in _KINDS)
        if abs(total - 1.0) > 1e-6:
            raise ConfigError(f"Grammar: {' + '.join(_KINDS)} is {total:.6g}; the shares must sum to 1")
        if unknown := set(self.kinds_held_out) - set(KINDS_HELD_OUT):
            allowed = ", ".join(KINDS_HELD_OUT)
            raise ConfigError(f"Grammar.kinds_held_out has {min(unknown)!r}; allowed: {allowed}")
        if self.combinations not in COMBINATIONS:
            raise ConfigError(f"Grammar.combinations is {self.combinations!r}; allowed: {', '.join(COMBINATIONS)}")


def draw_composition(grammar: Grammar, library: Library, rng: np.random.Generator) -> Composition:
    """Return a composition as ``grammar.combinations`` says whose drawings stand out from their background.

    Raises:
      DataError: none is found.
    """
    for _ in range(_TRIES):
        found = _any_composition(grammar, library, rng)
        if not all(library.shows_on(thing.drawing, thing.colour, found.background) for thing in found.things):
            continue
        if grammar.combinations == "both":
            return found
        counted = (one for one in found.combinations if one[0] in grammar.kinds_held_out)
        if bool(held_out_of(counted)) == (grammar.combinations == "held_out"):
            return found
    raise DataError(f"of {_TRIES} pictures none had {grammar.combinations} combinations; use more concepts")


def _any_composition(grammar: Grammar, library: Library, rng: np.random.Generator) -> Composition:
    kind = _KINDS[int(np.searchsorted(np.cumsum([getattr(grammar, k) for k in _KINDS])[:-1], rng.random(), "right"))]
    background = "white" if rng.random() < grammar.white_rate else _one_of(tuple(COLOURS), rng)
    if kind == "large":
        return Composition(things=_things(grammar, library, rng, (1,)), cells=FULL, background=background)
    if kind == "small":
        place = _one_of(tuple(PLACES), rng)
        things = _things(grammar, library, rng, (1,))
        return Composition(things=things, cells=PLACES[place], background=background, place=place)
    if kind == "pair":
        axis = "horizontal" if rng.random() < 1.0 - grammar.vertical_rate else "vertical"
        things = _things(grammar, library, rng, (1, 1))
        return Composition(things=things, cells=PAIRS[axis], background=background, arrangement=axis)
    if kind == "count":
        counts: tuple[int, ...] = (_one_of((2, 2, 3, 3, 4, 5), rng),)
    else:
        counts = _one_of(((2, 1), (1, 1, 1)), rng)
    cells = _one_of(GROUPS[sum(counts)], rng)
    things = _things(grammar, library, rng, counts)
    return Composition(things=things, cells=cells, background=background, arrangement="group")


def _things(grammar: Grammar, library: Library, rng: np.random.Generator, counts: tuple[int, ...]) -> tuple[Thing, ...]:
    """Different things, each so many times."""
    things: list[Thing] = []
    while len(things) < len(counts):
        concept = _one_of(library.concepts, rng)
        if any(thing.concept == concept for thing in things) or counts[len(things)] > 1 and not library.counts(concept):
            continue
        styles = library.styles_of(concept)
        wanted = things[0].style if things and rng.random() < grammar.same_style_rate else ""
        style = wanted if wanted in styles else _one_of(tuple(styles), rng)
        colours = library.colours_of(styles[style])
        changed = bool(colours) and (style == ANY_COLOUR or rng.random() < grammar.colour_rate)
        things.append(
            Thing(
                drawing=styles[style],
                concept=concept,
                style=style,
                colour=_one_of(HUES, rng) if changed else "",
                mirrored=grammar.mirror_rate > 0 and rng.random() < grammar.mirror_rate,
                count=counts[len(things)],
            )
        )
    return tuple(things)


def _one_of(things: Sequence, rng: np.random.Generator):
    return things[int(rng.random() * len(things))]  # several times as fast as rng.choice
