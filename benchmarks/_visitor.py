"""A visitor of the page without a browser, who reads its elements, sends its events and follows its updates."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from typing import Any

import httpx
import socketio

SECONDS = 120  # to compile and draw, on a busy machine
_ELEMENTS = re.compile(r"parseElements\(String\.raw`(.*?)`\)", re.DOTALL)
_CLIENT = re.compile(r"""["']client_id["']: ?["']([0-9a-f-]+)["']""")
_ESCAPED = {"&lt;": "<", "&gt;": ">", "&#96;": "`", "&#36;": "$", "&amp;": "&"}


def read_page(text: str) -> tuple[str, dict[int, dict[str, Any]]]:
    """Return the id of a visit, and its elements by number, from the text of the page."""
    client, found = _CLIENT.search(text), _ELEMENTS.search(text)
    assert client and found, "this is no page of NiceGUI"
    elements = found[1]
    for escaped, character in _ESCAPED.items():
        elements = elements.replace(escaped, character)
    return client[1], {int(number): element for number, element in json.loads(elements).items()}


class Visitor:
    """One visit to a page at ``address``; a context.  tab: what tells the browser's tab, by default a new one."""

    def __init__(self, address: str, headers: dict[str, str] | None = None, tab: str | None = None):
        self.address, self.headers, self.tab = address, headers or {}, tab or str(uuid.uuid4())
        self.elements: dict[int, dict[str, Any]] = {}
        self.socket = socketio.AsyncClient(reconnection=False)
        self.socket.on("update", self._update)

    async def __aenter__(self) -> Visitor:
        async with httpx.AsyncClient(timeout=SECONDS) as browser:
            page = await browser.get(self.address, headers=self.headers)
        page.raise_for_status()
        self.id, self.elements = read_page(page.text)
        query = {"client_id": self.id, "tab_id": self.tab, "document_id": str(uuid.uuid4())}
        query |= {"next_message_id": "0", "implicit_handshake": "true"}
        await self.socket.connect(
            f"{self.address}?{httpx.QueryParams(query)}",
            socketio_path="/_nicegui_ws/socket.io",
            transports=["websocket"],
            headers={"origin": self.address} | self.headers,
            wait_timeout=SECONDS,
        )
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self.socket.disconnect()

    def find(self, **props: Any) -> dict[str, Any]:
        """Return the element with these properties, or with a text or class of that value."""
        for element in self.elements.values():
            about = element.get("props", {}) | {"text": element.get("text"), "classes": element.get("class", [])}
            if all(
                value in about.get(name, ()) if name == "classes" else about.get(name) == value
                for name, value in props.items()
            ):
                return element | {"id": self._number(element)}
        raise LookupError(f"no element with {props}")

    def text(self, name: str) -> str:
        """Return the text of the first element of a class."""
        return self.find(classes=name).get("text") or ""

    def count(self, name: str) -> int:
        """Return the number of elements of a class."""
        return sum(name in element.get("class", []) for element in self.elements.values())

    def newest(self, name: str) -> int:
        """Return the number of the element of a class that came last, -1 without one; old ones may have gone."""
        return max((n for n, element in self.elements.items() if name in element.get("class", [])), default=-1)

    def forget(self, name: str) -> None:
        """Forget the text of the first element of a class, until the page sends another."""
        self.elements[self.find(classes=name)["id"]]["text"] = ""

    async def event(self, element: dict[str, Any], kind: str, *arguments: Any) -> None:
        """Send an event of an element, by the beginning of its name."""
        listener = next(one for one in element["events"] if one["type"].startswith(kind))
        message = {"id": element["id"], "client_id": self.id, "listener_id": listener["listener_id"]}
        await self.send(message | {"args": [json.dumps(one) for one in arguments]})

    async def send(self, message: Any) -> None:
        """Send a message as an event, whatever it is."""
        await self.socket.emit("event", message)

    async def fill(self, **fields: Any) -> None:
        """Type values into inputs, by label."""
        for label, value in fields.items():
            await self.event(self.find(label=label), "update:", value)

    async def press(self, label: str) -> None:
        await self.event(self.find(label=label), "click", {})

    async def wait(self, name: str, text: str, seconds: float = SECONDS) -> None:
        """Wait until the first element of a class has a text in it."""
        await self._until(name, text, True, seconds)

    async def wait_not(self, name: str, text: str, seconds: float = SECONDS) -> None:
        """Wait until the first element of a class does not have a text in it."""
        await self._until(name, text, False, seconds)

    async def _until(self, name: str, text: str, there: bool, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (text in self.text(name)) is not there:
            if time.monotonic() > until:
                raise TimeoutError(f"{name} is {self.text(name)!r}, not {text!r}; {self.text('mistake')}")
            await asyncio.sleep(0.02)

    def _number(self, element: dict[str, Any]) -> int:
        return next(number for number, one in self.elements.items() if one is element)

    def _update(self, message: dict[str, Any]) -> None:
        for number, element in message.items():
            if number.isdecimal():
                if element is None:
                    self.elements.pop(int(number), None)
                else:
                    self.elements[int(number)] = element
