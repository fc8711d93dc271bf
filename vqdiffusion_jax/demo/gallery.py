"""The pictures that were drawn in a visit, each to start from or to save."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from nicegui import ui

from .memory import Kept
from .pictures import archive, as_url
from .widgets import CRISP


class Gallery:
    """A row of pictures, the newest first, of which ``most`` are shown.  edit: takes a picture to start from."""

    def __init__(self, most: int, edit: Callable[[np.ndarray], None]):
        self._most, self._edit = most, edit
        ui.label("Drawn in this visit").classes("text-lg")
        self._row = ui.row().classes("gallery gap-4")

    def show(self, pictures: Sequence[Kept]) -> None:
        """Show these pictures, the oldest first, and no others."""
        self._row.clear()
        for kept in pictures:
            self.add(kept)

    def add(self, kept: Kept) -> None:
        """Show a picture before all others."""
        with self._row, ui.column().classes("kept w-32 gap-1") as box:
            ui.image(as_url(kept.picture)).style(CRISP)
            ui.label(kept.caption).classes("text-xs break-words w-full")
            with ui.row().classes("gap-0"):
                ui.button("edit", on_click=lambda: self._edit(kept.picture)).props("flat dense size=sm").tooltip(
                    "start from it"
                )
                save = ui.button("download", on_click=lambda: _save(kept)).props("flat dense size=sm")
                save.tooltip("the picture, and the JSON that draws it again")
        box.move(target_index=0)
        if len(self._row.default_slot.children) > self._most:
            self._row.remove(self._most)


def _save(kept: Kept) -> None:
    ui.download(archive(kept.name, kept.picture, kept.recipe, kept.start), f"{kept.name}.zip")
