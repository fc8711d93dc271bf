"""The content of a picture, before it is drawn or put into words."""

from __future__ import annotations

from dataclasses import dataclass

from .words import CANVAS, POSITIONS, SIZES, STEPS


@dataclass(frozen=True, kw_only=True)
class Placed:
    """One drawing in a scene."""

    drawing: int  # row of the drawings' table
    concept: str
    style: str  # one of words.STYLES
    size: str  # one of words.SIZES
    position: str  # one of words.POSITIONS
    shift: tuple[int, int] = (0, 0)  # pixels further right and down

    @property
    def corner(self) -> tuple[int, int]:
        """Column and row of its first pixel."""
        step = STEPS.get(self.size, 0)
        middle = (CANVAS - SIZES[self.size]) // 2
        x, y = (middle + step * steps + shift for steps, shift in zip(POSITIONS[self.position], self.shift))
        return x, y

    @property
    def centre(self) -> tuple[float, float]:
        """Column and row of its middle, in pixels."""
        x, y = self.corner
        return x + SIZES[self.size] / 2, y + SIZES[self.size] / 2


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One drawing, or two in reading order (left before right, upper before lower), on one colour."""

    objects: tuple[Placed, ...]
    background: str  # one of words.COLOURS
    axis: str = "single"  # or "horizontal", "vertical": how two drawings lie
    plain: bool = False  # its caption is the name alone

    @property
    def combinations(self) -> tuple[tuple[str, ...], ...]:
        """Every combination that could be held out: (kind, word, word, ...)."""
        found: list[tuple[str, ...]] = []
        for placed in self.objects:
            found += [("style", placed.concept, placed.style), ("background", placed.concept, self.background)]
        if len(self.objects) == 2:
            found.append(("relation", self.objects[0].concept, self.objects[1].concept, self.axis))
        return tuple(found)
