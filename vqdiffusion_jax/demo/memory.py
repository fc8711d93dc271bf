"""The state that tabs of browsers leave behind, so that it is there again after a reload, or on the way back."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from .drawing import Frame
from .job import Job
from .queue import Run
from .start_picture import StartPicture


@dataclass(frozen=True, eq=False)
class Kept:
    """A picture that was drawn.

    name: of its files.  picture: (height, width, 3) uint8.  recipe: draws it again, from the pictures of ``start``.
    """

    name: str
    picture: np.ndarray
    caption: str
    recipe: dict[str, Any]
    start: dict[str, np.ndarray]


class Owner(Protocol):
    """The page that shows a memory."""

    def remember(self) -> None:
        """Write what is typed into the memory."""


@dataclass(eq=False)
class Memory:
    """The state of a tab.

    form: values of inputs, by name.  kept: pictures that were drawn, the oldest first; drawn: their number so far.
    run: under way, or None; jobs, history: of the run that began last, and its frames once it has ended.
    start: the picture to start from.  owner: the page that shows all this; it alone writes here.
    """

    start: StartPicture
    owner: Owner | None = None
    form: dict[str, Any] = field(default_factory=dict)
    kept: list[Kept] = field(default_factory=list)
    drawn: int = 0
    run: Run | None = None
    jobs: list[Job] = field(default_factory=list)
    history: list[list[Frame]] = field(default_factory=list)

    def keep(self, caption: str, picture: np.ndarray, recipe: dict[str, Any], job: Job, *, most: int) -> Kept:
        """Add a picture, of which the ``most`` newest are kept, and return it."""
        self.drawn += 1
        kept = Kept(f"{self.drawn:06d}", picture, caption, recipe, job.start)
        self.kept = [*self.kept, kept][-most:]
        return kept

    def close(self) -> None:
        """Let go of what only an open page shows."""
        self.owner, self.run, self.jobs, self.history = None, None, [], []


class Memories:
    """Memories by name, at most ``most`` and with at most ``pictures`` in all; the one used longest ago goes first."""

    def __init__(self, most: int, pictures: int):
        self._most, self._pictures = most, pictures
        self._memories: OrderedDict[str, Memory] = OrderedDict()

    def get(self, name: str | None) -> Memory | None:
        """Return a memory, or None if there is none of that name any more."""
        if name is None or name not in self._memories:
            return None
        self._memories.move_to_end(name)
        return self._memories[name]

    def put(self, name: str, memory: Memory) -> None:
        """Take a new memory."""
        self._memories[name] = memory
        self.trim()

    def trim(self) -> None:
        """Forget what is too much; the memory used last stays."""
        pictures = sum(len(memory.kept) for memory in self._memories.values())
        while len(self._memories) > 1 and (len(self._memories) > self._most or pictures > self._pictures):
            _, gone = self._memories.popitem(last=False)
            pictures -= len(gone.kept)
