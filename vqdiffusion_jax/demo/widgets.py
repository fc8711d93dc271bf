"""Inputs of the page from the descriptions of settings, and handlers that do not keep a page."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from nicegui import ui
from nicegui.elements.mixins.value_element import ValueElement

from ..sampling.fields import Setting
from .form import EXACT
from .wording import label_of

CRISP = "image-rendering: pixelated"  # pixels and tokens as squares at any size


def input_for(name: str, about: Setting, value: Any = None, *, words: str = "") -> ValueElement:
    """Add the input of a setting, with its help and further ``words`` below it; None shows it empty."""
    label = label_of(name)
    if about.choices or about.type is bool:
        options = list(about.choices) or {True: "yes", False: "no"}
        element = ui.select(options, label=label, value=value, clearable=value is None)
    elif about.type in (int, float) and not about.many:
        element = ui.number(label, value=value)
    else:
        element = ui.input(label, value=value)
    element.classes("w-full")
    ui.label(" ".join(filter(None, (about.help, words)))).classes("text-xs opacity-70 -mt-2")
    return element


def number_of(what: str, value: Any) -> float:
    """Return a number that a browser sends for ``what``.  Raises ValueError for anything else."""
    if not isinstance(value, int | float) or not abs(value) <= EXACT:
        raise ValueError(f"{what} takes numbers alone")
    return value


def weakly(handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a handler of events that calls a method without keeping its object.

    For an uploader: FastAPI keeps the routes of thousands of them after their pages have gone, and all that they hold.
    """
    method = weakref.WeakMethod(handler)

    def handle(event: Any) -> Any:
        called = method()
        return called(event) if called is not None else None

    return handle
