"""The part of the page that shows an order being drawn: each picture, and its tokens beside it."""

from __future__ import annotations

from nicegui import ui

from .drawing import Frame
from .pictures import as_url, token_grid
from .requests import Order

CRISP = "image-rendering: pixelated"  # pixels and tokens as squares, however large they are shown
_WIDTHS = {1: "w-72", 2: "w-48"}  # of a picture, by how many the page shows; narrower for more


class Panel:
    """Shows nothing until it is given an order."""

    def __init__(self):
        with ui.column().classes("panel grow basis-0 gap-2") as self.box:
            self.title = ui.label().classes("text-lg")
            self.rows = ui.row().classes("gap-4")
            self.caption = ui.label().classes("caption text-sm")
        self.end()

    def end(self) -> None:
        """Show nothing."""
        self.box.set_visibility(False)
        self.rows.clear()
        self.places: list[tuple[ui.interactive_image, ui.interactive_image]] = []
        self.shown: Frame | None = None
        self.caption.text = ""

    def begin(self, order: Order, together: int) -> None:
        """Make place for an order's pictures, one of so many orders on the page."""
        self.end()
        self.box.set_visibility(True)
        self.title.text = order.recipe["strategy"]
        width = _WIDTHS.get(order.count * together, "w-32")
        with self.rows:
            for _ in range(order.count):
                with ui.row().classes("gap-1 no-wrap"):
                    picture = ui.interactive_image(size=(1, 1)).classes(f"picture {width}").style(CRISP)
                    tokens = ui.interactive_image(size=(1, 1)).classes(f"tokens {width}").style(CRISP)
                    self.places.append((picture, tokens))

    def show(self, frame: Frame) -> None:
        """Show a moment of the order; nothing happens if it is shown already."""
        if frame is self.shown:
            return
        before = self.shown.moments if self.shown else [None] * len(frame.moments)
        for (picture, tokens), moment, shown in zip(self.places, frame.moments, before):
            if moment is not shown:
                picture.set_source(as_url(moment.picture))
                tokens.set_source(as_url(token_grid(moment.masked, moment.confidence)))
        self.shown = frame
        self.caption.text = frame.caption
