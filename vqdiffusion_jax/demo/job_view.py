"""The part of the page that shows a job on its way: each picture, and its tokens beside it."""

from __future__ import annotations

import numpy as np
from nicegui import ui

from .drawing import Frame
from .job import Job
from .pictures import as_url, token_grid
from .widgets import CRISP

# Width of a picture and its tokens, at most, by the number of pictures on the page; narrower for more.
_WIDTHS = {1: "36rem", 2: "24rem"}
_NARROW = "16rem"
NOT_BEGUN = "No picture yet.  The first run of its kind takes some seconds more, for its programs are compiled."


class JobView:
    """A view of one job, empty at first."""

    def __init__(self):
        with ui.column().classes("job gap-2") as self.box:
            self.title = ui.label().classes("text-lg")
            self.rows = ui.element("div").classes("pairs")
            self.caption = ui.label().classes("caption text-sm")
        self.end()

    def end(self) -> None:
        """Show nothing."""
        self.box.set_visibility(False)
        self.rows.clear()
        self.places: list[tuple[ui.interactive_image, ui.interactive_image]] = []
        self.shown: Frame | None = None
        self.caption.text = ""

    def begin(self, job: Job, beside: int) -> None:
        """Make place for the pictures of a job, one of ``beside`` jobs on the page; grey stands there until a frame."""
        self.end()
        self.box.set_visibility(True)
        self.title.text = job.strategy
        self.caption.text = NOT_BEGUN
        grey, width = as_url(np.full((1, 1, 3), 224, np.uint8)), _WIDTHS.get(job.count * beside, _NARROW)
        with self.rows:
            for _ in range(job.count):
                with ui.element("div").classes("pair").style(f"flex: 0 1 {width}"):
                    picture = ui.interactive_image(grey, size=(1, 1)).classes("picture").style(CRISP)
                    tokens = ui.interactive_image(grey, size=(1, 1)).classes("tokens").style(CRISP)
                    self.places.append((picture, tokens))

    def show(self, frame: Frame) -> None:
        """Show a frame of the job; one that is shown already costs nothing."""
        if frame is self.shown:
            return
        before = self.shown.snapshots if self.shown else [None] * len(frame.snapshots)
        for (picture, tokens), snapshot, shown in zip(self.places, frame.snapshots, before):
            if snapshot is not shown:
                picture.set_source(as_url(snapshot.picture))
                tokens.set_source(as_url(token_grid(snapshot.masked, snapshot.confidence)))
        self.shown = frame
        self.caption.text = frame.caption
