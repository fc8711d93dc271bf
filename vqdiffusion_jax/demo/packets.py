"""Packets of a browser's socket, below NiceGUI's messages: what is none closes the socket, and is no error here."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from engineio import async_socket, packet
from engineio.exceptions import EngineIOError, UnknownPacketError
from nicegui import core
from starlette.responses import Response

from ..web.guard import App, Message, Receive, Send


def check_packets() -> None:
    """Close every socket, from now on, that sends something else than packets of Engine.IO and Socket.IO.

    Without this the libraries write an error into the server's log, or answer 500, and some sockets stay open until
    they miss a ping.
    """
    engine = core.sio.eio
    async_socket.AsyncSocket = _Socket  # by which the server makes them
    engine.handlers["message"] = _closing(engine.handlers["message"], engine.disconnect)
    engine.handle_request = _met(engine.handle_request)


class _Socket(async_socket.AsyncSocket):
    """A socket that ends as others do when it reads what is no packet."""

    async def receive(self, pkt: packet.Packet) -> None:
        if pkt.packet_type >= len(packet.packet_names):
            raise UnknownPacketError
        await super().receive(pkt)

    async def handle_post_request(self, environ: dict[str, Any]) -> None:
        try:
            await super().handle_post_request(environ)
        except EngineIOError:
            raise
        except Exception as error:  # of decoding, which may be any
            _note()
            raise EngineIOError("no packets") from error

    async def _websocket_handler(self, ws: Any) -> None:
        try:
            await super()._websocket_handler(ws)
        except Exception:  # as above
            _note()
            await self.queue.put(None)  # ends the task that writes
            await self.close(wait=False, abort=True, reason=self.server.reason.TRANSPORT_ERROR)
            with contextlib.suppress(Exception):  # that task may have done it
                await ws.close()


def _closing(handle: Callable[..., Awaitable[Any]], close: Callable[[str], Awaitable[None]]) -> Callable[..., Any]:
    """Return a handler of Socket.IO's packets that closes the socket of one that cannot be read."""

    async def take(sid: str, data: Any) -> None:
        try:
            await handle(sid, data)
        except Exception:  # of parsing, or of the handshake that it asks for
            _note()
            with contextlib.suppress(Exception):  # it may be closed by now
                await close(sid)

    return take


def _met(answer: App) -> App:
    """Return an application that leaves out clients who have gone before they are met."""

    async def ask(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        begun = [await receive()]
        if begun[0]["type"] == "http.disconnect":  # what stands around the page asks for an answer even so
            return await Response(status_code=400)(scope, receive, send)
        if begun[0]["type"] not in ("websocket.connect", "http.request"):
            return None

        async def again() -> Message:
            return begun.pop() if begun else await receive()

        return await answer(scope, again, send)

    return ask


def _note() -> None:
    logging.debug("a socket of the page sent what is no packet", exc_info=True)
