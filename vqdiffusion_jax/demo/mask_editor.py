"""The part of the page where a picture to start from is uploaded, painted over and extended."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from nicegui import events, ui
from PIL import Image

from ..sampling.fields import Setting
from .limits import Limits
from .pictures import as_url
from .start_picture import MASK, PICTURE, SCRATCH, STARTS, StartPicture
from .upload import read_upload
from .widgets import CRISP, input_for
from .wording import told_to

_MOUSE = ["mousedown", "mousemove", "mouseup", "mouseleave"]
_LEFT_BUTTON = 1  # among the buttons that are down
_STARTS = {SCRATCH: "nothing", PICTURE: "the picture, noised", MASK: "the picture, but where it is red"}
_STRENGTH = 0.6


class MaskEditor:
    """An editor of a picture of ``size`` x ``size`` pixels and its mask.

    strength: the description of that input; complain: takes a line about anything that cannot be done.
    """

    def __init__(self, size: int, strength: Setting, limits: Limits, complain: Callable[[str], None]):
        self.edited, self.limits, self.complain = StartPicture(size), limits, complain
        with ui.row().classes("gap-8 mb-6"):
            with ui.column().classes("w-80"):
                self.start = ui.select(_STARTS, label="Start from", value=SCRATCH).classes("w-full")
                ui.label(STARTS.help).classes("text-xs opacity-70 -mt-2")
            with ui.column().classes("w-72"):
                self.strength = input_for("strength", strength, _STRENGTH)
        with ui.row().classes("gap-8"):
            self._offer_tools()
            self.view = ui.interactive_image(size=(size, size), on_mouse=self._brush, events=_MOUSE)
            self.view.classes("mask-editor w-72 cursor-crosshair").style(CRISP)
        self._refresh()

    def fields(self) -> dict[str, Any]:
        """Return the fields of the form that are edited here.  Raises ValueError if there is nothing to start from."""
        return self.edited.fields(self.start.value, self.strength.value)

    def put(self, picture: np.ndarray) -> None:
        """Take a picture that was drawn, (height, width, 3) uint8."""
        self._put(Image.fromarray(picture))

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
            self.erase = ui.toggle({False: "Paint", True: "Erase"}, value=False)
            ui.label("Brush").classes("text-sm")
            self.radius = ui.slider(min=0.02, max=0.3, step=0.01, value=0.08)
            ui.label("Extend by").classes("text-sm")
            self.margin = ui.slider(min=0.05, max=0.4, step=0.05, value=0.25)
            with ui.row().classes("gap-1"):
                for i, side in enumerate(("left", "top", "right", "bottom")):
                    ui.button(side, on_click=partial(self._extend, i)).props("flat dense")
                ui.button("Clear", on_click=self._clear).props("flat dense")

    def _put(self, picture: Image.Image) -> None:
        self.edited.put(picture)
        self.start.set_value(PICTURE)
        self._refresh()

    async def _upload(self, event: events.UploadEventArguments) -> None:
        self.uploader.reset()
        with told_to(self.complain):
            self._put(read_upload(await event.file.read(), self.limits))

    def _brush(self, event: events.MouseEventArguments) -> None:
        with told_to(self.complain):
            if event.type in ("mouseup", "mouseleave") or not event.buttons & _LEFT_BUTTON:
                self.edited.lift()
                return
            radius = (self.radius.value or 0.0) * self.edited.size
            self.edited.stroke(event.image_x, event.image_y, radius, erase=bool(self.erase.value))
            self.start.set_value(MASK)
            self._refresh()

    def _extend(self, side: int) -> None:
        with told_to(self.complain):
            left, top, right, bottom = ((self.margin.value or 0.0) if i == side else 0.0 for i in range(4))
            self.edited.extend(left, top, right, bottom)
            self.start.set_value(MASK)
            self._refresh()

    def _clear(self) -> None:
        self.edited.clear_mask()
        self._refresh()

    def _refresh(self) -> None:
        self.view.set_source(as_url(self.edited.preview()))
