"""Upper bounds of what a visitor of the page may ask for."""

from __future__ import annotations

from dataclasses import dataclass

from ..web.limits import Bounds


@dataclass(frozen=True, kw_only=True)
class Limits(Bounds):
    """Upper bounds, each included."""

    runs_waiting: int = 8  # of all visitors
    runs_each: int = 2  # of a visitor, waiting or being drawn
    runs_a_minute: int = 60  # of a visitor
    visits: int = 400  # open at once
    pages_a_minute: int = 60  # of an address of another machine
    event_characters: int = 20_000  # of what an event of the page brings
    closed_seconds: float = 3.0  # until the run of a closed page is stopped; a reload comes back before
    frames: int = 25  # of a picture's denoising, shown and kept
    gallery: int = 48  # pictures of a visit; the oldest go
    remembered: int = 1_000  # pictures of all tabs, for those that come back
