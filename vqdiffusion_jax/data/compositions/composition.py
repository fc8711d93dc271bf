"""The content of a composed picture, before it is drawn or put into words."""

from __future__ import annotations

from dataclasses import dataclass

from .layouts import Cell


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One drawing, ``count`` times."""

    drawing: int  # row of the drawings' table
    concept: str
    style: str
    colour: str = ""  # one of colours.HUES where the drawing was given that colour; "" as it was drawn
    mirrored: bool = False
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class Composition:
    """One to three things on one colour.

    cells: where each drawing lies, thing by thing: the first ``things[0].count`` cells are the first thing's.
    arrangement: "single", "horizontal" or "vertical" for two single things in reading order, else "group".
    """

    things: tuple[Thing, ...]
    cells: tuple[Cell, ...]
    background: str
    arrangement: str = "single"
    place: str = "centre"  # of a single small drawing

    @property
    def combinations(self) -> tuple[tuple[str, ...], ...]:
        """Every combination that could be held out: (kind, word, word, ...)."""
        found: list[tuple[str, ...]] = []
        for thing in self.things:
            found += [("style", thing.concept, thing.style), ("background", thing.concept, self.background)]
            if thing.colour:
                found.append(("colour", thing.concept, thing.colour))
        if self.arrangement in ("horizontal", "vertical"):
            found.append(("relation", self.things[0].concept, self.things[1].concept, self.arrangement))
        return tuple(found)
