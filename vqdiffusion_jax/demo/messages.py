"""Messages of a browser, checked before NiceGUI reads them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from nicegui import core

from ..errors import one_line, shortened
from .limits import Limits

_LONGEST = 120  # characters of what is told
_KINDS = ("event", "javascript_response", "ack", "handshake")  # of NiceGUI's messages


def check_messages(limits: Limits, tell: Callable[[str, str], None]) -> None:
    """Check every message that NiceGUI's server takes from now on, and drop its log messages.

    tell: takes the id of a page and one line about a message of it that cannot be used.
    """
    handlers = core.sio.handlers["/"]
    for kind in _KINDS:
        handlers[kind] = _checked(handlers[kind], kind, limits, tell)
    handlers["log"] = _ignored  # a visitor writes no lines into the server's log


def fault_of_event(message: Any, most: int) -> str | None:
    """Return what is wrong with an event as the browser sends it, or None; ``most`` characters may come with it."""
    if not isinstance(message, dict):
        return "it is no object"
    for name, kind in (("id", int), ("client_id", str), ("listener_id", str)):
        if not isinstance(message.get(name), kind) or isinstance(message.get(name), bool):
            return f"its {name} is missing or of a wrong type"
    arguments = message.get("args", [])
    if not isinstance(arguments, list) or not all(isinstance(one, str | None) for one in arguments):
        return "its args are no list of texts"
    length = sum(len(one) for one in arguments if one)
    return f"it brings {length:,} characters; at most {most:,} are taken" if length > most else None


def _checked(handler: Callable[..., Any], kind: str, limits: Limits, tell: Callable[[str, str], None]):
    async def handle(sid: str, *arguments: Any) -> Any:
        fault = None
        try:
            message = arguments[0] if len(arguments) == 1 else None
            if kind == "event":
                fault = fault_of_event(message, limits.event_characters)
            elif not isinstance(message, dict):
                fault = "it is no object"
            if fault is None:
                result = handler(sid, message)
                return await result if inspect.isawaitable(result) else result
        except KeyError:
            fault = "nothing here takes it"
        except Exception as error:
            fault = f"{type(error).__name__}: {one_line(str(error)[:_LONGEST])}"
        line = shortened(f"a message of this page cannot be used: {fault}", _LONGEST + 80)
        for room in core.sio.rooms(sid):  # one is named after the page
            tell(room, line)
        return False

    return handle


async def _ignored(sid: str, *arguments: Any) -> None:
    """Take a message and do nothing."""
