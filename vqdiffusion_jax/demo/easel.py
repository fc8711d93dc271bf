"""The part of the page where a picture to start from is uploaded, painted over and extended."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from nicegui import events, ui
from PIL import Image

from .canvas import Canvas, read_upload
from .limits import Limits
from .panel import CRISP
from .pictures import as_url
from .requests import MASK, PICTURE

_MOUSE = ["mousedown", "mousemove", "mouseup", "mouseleave"]
_LEFT_BUTTON = 1  # among the buttons that are down


class Easel:
    """Works on a canvas.

    begin: called with what the next run should now start from; complain: with one line where something cannot be done.
    """

    def __init__(self, canvas: Canvas, limits: Limits, begin: Callable[[str], None], complain: Callable[[str], None]):
        self.canvas, self.limits, self.begin, self.complain = canvas, limits, begin, complain
        with ui.row().classes("gap-8"):
            self._offer_tools()
            self.view = ui.interactive_image(size=(canvas.size, canvas.size), on_mouse=self._brush, events=_MOUSE)
            self.view.classes("easel w-72 cursor-crosshair").style(CRISP)
        self._refresh()

    def _offer_tools(self) -> None:
        most = f"{self.limits.upload_bytes / 2**20:g} MiB"
        with ui.column().classes("w-80 gap-2"):
            self.uploader = (
                ui.upload(
                    label=f"Upload a picture, up to {most}",
                    auto_upload=True,
                    max_file_size=self.limits.upload_bytes,
                    on_upload=self._upload,
                    on_rejected=lambda: self.complain(f"the file has more than {most}; make the picture smaller"),
                )
                .classes("w-full")
                .props("flat bordered")
            )
            ui.label("Or press “edit” under a picture that was drawn.").classes("text-sm opacity-70")
            self.tool = ui.toggle({False: "Paint", True: "Rub out"}, value=False)
            ui.label("Brush").classes("text-sm")
            self.radius = ui.slider(min=0.02, max=0.3, step=0.01, value=0.08)
            ui.label("Extend by").classes("text-sm")
            self.margin = ui.slider(min=0.05, max=0.4, step=0.05, value=0.25)
            with ui.row().classes("gap-1"):
                for i, side in enumerate(("left", "top", "right", "bottom")):
                    ui.button(side, on_click=lambda i=i: self._extend(i)).props("flat dense")
                ui.button("Clear", on_click=self._clear).props("flat dense")

    def put(self, picture: np.ndarray) -> None:
        """Take a picture that was drawn, (height, width, 3) uint8."""
        self.canvas.put(Image.fromarray(picture))
        self.begin(PICTURE)
        self._refresh()

    async def _upload(self, event: events.UploadEventArguments) -> None:
        self.uploader.reset()
        try:
            self.canvas.put(read_upload(await event.file.read(), self.limits))
        except ValueError as error:
            self.complain(str(error))
            return
        self.begin(PICTURE)
        self._refresh()

    def _brush(self, event: events.MouseEventArguments) -> None:
        if event.type in ("mouseup", "mouseleave") or not event.buttons & _LEFT_BUTTON:
            self.canvas.lift()
            return
        self.canvas.stroke(event.image_x, event.image_y, self.radius.value * self.canvas.size, rub_out=self.tool.value)
        self.begin(MASK)
        self._refresh()

    def _extend(self, side: int) -> None:
        try:
            self.canvas.extend(*(self.margin.value if i == side else 0.0 for i in range(4)))
        except ValueError as error:
            self.complain(str(error))
            return
        self.begin(MASK)
        self._refresh()

    def _clear(self) -> None:
        self.canvas.erase()
        self._refresh()

    def _refresh(self) -> None:
        self.view.set_source(as_url(self.canvas.view()))
