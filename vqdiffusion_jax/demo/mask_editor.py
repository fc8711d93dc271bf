"""The part of the page where a picture to start from is uploaded, painted over and extended."""

from __future__ import annotations

import asyncio
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
from .widgets import CRISP, input_for, number_of, weakly
from .wording import told_to

_POINTER = ["pointerdown", "pointermove", "pointerup", "pointercancel", "pointerleave"]  # of mouse, finger and pen
_LEFT_BUTTON = 1  # among the buttons that are down; a finger is one
_STARTS = {SCRATCH: "nothing", PICTURE: "the picture, noised", MASK: "the picture, but where it is red"}
_HINTS = {
    SCRATCH: "The picture below is not used.",
    PICTURE: "The picture is noised and drawn anew from there, so that its rough shape stays.",
    MASK: STARTS.help,
}
_STRENGTH = 0.6


class MaskEditor:
    """An editor of a picture and its mask.

    strength: the description of that input; complain: takes a line about what is wrong elsewhere on the page, "" if
    nothing is any more.
    """

    def __init__(self, edited: StartPicture, strength: Setting, limits: Limits, complain: Callable[[str], None]):
        self.edited, self.limits, self._complain_elsewhere = edited, limits, complain
        with ui.element("div").classes("editor mb-6"):
            with ui.column().classes("gap-2"):
                self.start = ui.select(_STARTS, label="Start from", value=SCRATCH).classes("w-full")
                hint = ui.label().classes("text-xs opacity-70 -mt-2 min-h-8")
                hint.bind_text_from(self.start, "value", lambda start: _HINTS.get(start, ""))
            with ui.column().classes("gap-2"):
                self.strength = input_for("strength", strength, _STRENGTH)
            # Not hidden: below, the picture would move under the brush when the first stroke chooses the mask.
            self.strength.props("disable")
            self.start.on_value_change(self._choose)
        with ui.element("div").classes("editor"):
            self._offer_tools()
            size = (edited.size, edited.size)
            self.view = ui.interactive_image(size=size, on_mouse=self._brush, events=_POINTER)
            self.view.classes("mask-editor cursor-crosshair").style(CRISP)
        self.elements = {"start": self.start, "strength": self.strength}
        self._refresh()

    def take(self, edited: StartPicture) -> None:
        """Go on with another picture and its mask."""
        self.edited = edited
        self._refresh()

    def complain(self, mistake: str) -> None:
        """Show a line about a picture, beside the uploader."""
        self.mistake.text = mistake

    def fields(self) -> dict[str, Any]:
        """Return the fields of the form that are edited here.  Raises ValueError if there is nothing to start from."""
        return self.edited.fields(self.start.value, self.strength.value)

    def put(self, picture: np.ndarray) -> None:
        """Take a picture that was drawn, (height, width, 3) uint8."""
        self._put(Image.fromarray(picture))

    def _offer_tools(self) -> None:
        most = f"{self.limits.upload_bytes / 2**20:g} MiB"
        with ui.column().classes("gap-2"):
            self.uploader = (
                ui.upload(
                    label=f"Upload a picture, up to {most}",
                    auto_upload=True,
                    max_file_size=self.limits.upload_bytes,
                    on_upload=weakly(self._upload),
                    on_rejected=weakly(self._reject),
                )
                .classes("w-full")
                .props("flat bordered")
            )
            self.mistake = ui.label().classes("start-mistake text-sm text-negative").props("role=alert")
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

    def _choose(self, event: events.ValueChangeEventArguments) -> None:
        self.strength.props(remove="disable") if event.value == PICTURE else self.strength.props("disable")

    def _put(self, picture: Image.Image) -> None:
        self.edited.put(picture)
        self.start.set_value(PICTURE)
        self._refresh()

    def _reject(self, event: events.UiEventArguments) -> None:
        most = f"{self.limits.upload_bytes / 2**20:g} MiB"
        self.complain(f"the file has more than {most}; make the picture smaller")

    async def _upload(self, event: events.UploadEventArguments) -> None:
        self.uploader.reset()
        self.complain("")
        self._complain_elsewhere("")
        with told_to(self.complain):
            data = await event.file.read()
            self._put(await asyncio.to_thread(read_upload, data, self.limits))  # other pages go on meanwhile

    def _brush(self, event: events.MouseEventArguments) -> None:
        with told_to(self.complain):
            if (
                event.type not in ("pointerdown", "pointermove")
                or not int(number_of("the buttons", event.buttons)) & _LEFT_BUTTON
            ):
                self.edited.lift()
                return
            radius = number_of("the brush", self.radius.value or 0.0) * self.edited.size
            self.edited.stroke(event.image_x, event.image_y, radius, erase=bool(self.erase.value))
            self.start.set_value(MASK)
            self._refresh()

    def _extend(self, side: int) -> None:
        with told_to(self.complain):
            left, top, right, bottom = (
                number_of("the margin", self.margin.value or 0.0) if i == side else 0.0 for i in range(4)
            )
            self.edited.extend(left, top, right, bottom)
            self.start.set_value(MASK)
            self._refresh()

    def _clear(self) -> None:
        self.edited.clear_mask()
        self._refresh()

    def _refresh(self) -> None:
        self.view.set_source(as_url(self.edited.preview()))
