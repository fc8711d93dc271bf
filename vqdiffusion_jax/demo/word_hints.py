"""The words that a model knows, beside the prompt: names to click, and a line about words it was not taught."""

from __future__ import annotations

from typing import Any

from nicegui import ui
from nicegui.elements.mixins.value_element import ValueElement

from ..text.known_words import KnownWords

_SHOWN = 32  # names


class WordHints:
    """A line about unknown words, which follows the prompt as it is typed, above the known names.

    A name that is clicked becomes the prompt.
    """

    def __init__(self, known: KnownWords, prompt: ValueElement):
        self._known = known
        self._told = ui.label().classes("words text-xs text-orange-10").props("role=status")
        with ui.row().classes("gap-0"):
            for name in known.names[:_SHOWN]:
                chip = ui.chip(name, on_click=lambda name=name: prompt.set_value(name))
                chip.props("dense outline").classes("text-xs")
            if more := len(known.names[_SHOWN:]):
                ui.label(f"and {more} more").classes("text-xs opacity-70 m-1")
        prompt.on_value_change(lambda event: self._look(event.value))
        self._look(prompt.value)

    def _look(self, prompt: Any) -> None:
        told = self._known.told(prompt) if isinstance(prompt, str) else ""
        self._told.text = told[:1].upper() + told[1:]
