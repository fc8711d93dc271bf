"""Messages of a browser, checked before NiceGUI reads them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from nicegui import core

from ..errors import one_line, shortened
from .limits import Limits

_LONGEST = 120  # characters of what is told
# The kinds of NiceGUI's messages, with the types of their fields.
_FIELDS: dict[str, dict[str, Any]] = {
    "event": {"id": int, "client_id": str, "listener_id": str},
    "javascript_response": {"client_id": str, "request_id": str},
    "ack": {"client_id": str, "next_message_id": int},
    "handshake": {
        "client_id": str,
        "tab_id": str,
        "document_id": str,
        "old_tab_id": str | None,
        "next_message_id": int | str | None,
    },
}


def check_messages(limits: Limits, tell: Callable[[str, str], None]) -> None:
    """Check every message that NiceGUI's server takes from now on, and drop its log messages.

    tell: takes the id of a page and one line about a message of it that cannot be used.
    """
    handlers = core.sio.handlers["/"]
    for kind in _FIELDS:
        handlers[kind] = _checked(handlers[kind], kind, limits, tell)
    handlers["log"] = _ignored  # a visitor writes no lines into the server's log


def fault_of(kind: str, message: Any, most: int) -> str | None:
    """Return what is wrong with a message as the browser sends it, or None; ``most`` characters may come with an event.

    NiceGUI keeps some fields and reads them again long after, when no fault could be told to anyone.
    """
    if not isinstance(message, dict):
        return "it is no object"
    for name, types in _FIELDS[kind].items():
        if not isinstance(message.get(name), types) or isinstance(message.get(name), bool):
            return f"its {name} is missing or of a wrong type"
    return _fault_of_arguments(message.get("args", []), most) if kind == "event" else None


def _fault_of_arguments(arguments: Any, most: int) -> str | None:
    if not isinstance(arguments, list) or not all(isinstance(one, str | None) for one in arguments):
        return "its args are no list of texts"
    length = sum(len(one) for one in arguments if one)
    return f"it brings {length:,} characters; at most {most:,} are taken" if length > most else None


def _checked(handler: Callable[..., Any], kind: str, limits: Limits, tell: Callable[[str, str], None]):
    async def handle(sid: str, *arguments: Any) -> Any:
        fault = None
        try:
            message = arguments[0] if len(arguments) == 1 else None
            fault = fault_of(kind, message, limits.event_characters)
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
