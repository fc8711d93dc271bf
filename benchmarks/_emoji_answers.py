"""The right pictures of a prompt: every composition of drawings that it is true of, and their tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np

from vqdiffusion_jax.data.compositions.composition import Composition, Thing
from vqdiffusion_jax.data.compositions.layouts import FULL, GROUPS, PAIRS, Cell
from vqdiffusion_jax.data.compositions.library import ANY_COLOUR, Library
from vqdiffusion_jax.data.compositions.prompts import Prompt, Wanted
from vqdiffusion_jax.data.compositions.tokens import TokenLibrary

_AXES = {"left of": ("horizontal",), "above": ("vertical",), "": tuple(PAIRS)}


@dataclass(frozen=True)
class Judged:
    """A picture's tokens against those of the nearest right picture.

    wrong: tokens that differ, of all.  shown: the share of the drawings' tokens that are right.
    """

    wrong: int
    shown: float


def answers(prompt: Prompt, library: Library) -> list[Composition]:
    """Return all right pictures; none if the library has no drawing of what is asked, or none in that colour.

    A thing alone is large, several are small; what is not told is white, a drawing's own colour, and any arrangement.
    """
    background = prompt.background or "white"
    found = []
    for things in product(*(list(_things(wanted, library)) for wanted in prompt.objects)):
        for ordered, cells, arrangement in _layouts(things, prompt.relation):
            found.append(Composition(things=ordered, cells=cells, background=background, arrangement=arrangement))
    return list(dict.fromkeys(found))


def judge(tokens: np.ndarray, right: Sequence[Composition], library: TokenLibrary) -> Judged:
    """Return how far a picture's tokens (length,) are from the nearest of the ``right`` pictures."""
    best = Judged(len(tokens) + 1, 0.0)
    for composition in right:
        true = library.tokens(composition)
        same = true == tokens
        if (wrong := int((~same).sum())) < best.wrong:
            plain = library.tokens(Composition(things=(), cells=(), background=composition.background))
            best = Judged(wrong, float(same[true != plain].mean()))
    return best


def _things(wanted: Wanted, library: Library) -> Iterator[Thing]:
    for concept in wanted.concepts:
        for style, row in (library.styles_of(concept) if concept in library.concepts else {}).items():
            for colour in _colours(wanted.colour, style, row, library):
                yield Thing(drawing=row, concept=concept, style=style, colour=colour, count=wanted.count)


def _colours(told: str, style: str, row: int, library: Library) -> list[str]:
    """Return the colours to give a drawing: "" for its own, if that is meant."""
    given = list(library.colours_of(row))
    if style == ANY_COLOUR:
        return [colour for colour in given if told in ("", colour)]
    if not told:
        return [""]
    return [colour for colour in given if colour == told] + ([""] if library.palette(row).word == told else [])


def _layouts(things: tuple[Thing, ...], relation: str) -> Iterator[tuple[tuple[Thing, ...], tuple[Cell, ...], str]]:
    counts = tuple(thing.count for thing in things)
    if counts == (1,):
        yield things, FULL, "single"
    elif counts == (1, 1):
        for order in [things] if relation else permutations(things):
            for axis in _AXES[relation]:
                yield tuple(order), PAIRS[axis], axis
    else:
        for order in permutations(things):
            for cells in GROUPS.get(sum(counts), ()):
                yield tuple(order), cells, "group"
