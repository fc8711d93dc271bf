"""The door of a server: every request passes it before the application sees it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

from starlette.responses import PlainTextResponse, Response

from ..errors import brief
from .access import Access, is_same_origin
from .limits import Bounds
from .rates import Allowance

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_METHODS = ("GET", "HEAD", "POST")


class Tally:
    """The counts that the guards of one server share."""

    def __init__(self, limits: Bounds):
        self.logins = Allowance(limits.logins_a_minute, 60.0)
        self.held = 0  # bytes of bodies on their way, and of those that the application has not taken


class Guard:
    """An ASGI application around another: it answers, or refuses, all that the other shall not see.

    It checks the Host header, the origin, the secret, methods, sizes and the time that a body takes, adds headers that
    protect what is sent, removes those that let other pages read it, and turns an error into a line.  A subclass says
    the rest.
    tally: of the server; by default one of the guard's own.
    """

    headers: Mapping[str, str] = {"x-content-type-options": "nosniff", "cross-origin-resource-policy": "same-origin"}

    def __init__(self, app: App, *, access: Access, limits: Bounds, tally: Tally | None = None):
        self._app, self._access, self._limits = app, access, limits
        self._tally = tally or Tally(limits)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        request = Request(scope)
        send = _Answers(send, self.headers_of(request))
        refusal = self._refusal(request)
        try:
            if request.is_websocket:
                if refusal is not None:
                    await receive()
                    return await send({"type": "websocket.close", "code": 1008})
                return await self._app(scope, receive, send)
            if refusal is None and request.method == "POST":
                return await self._with_body(request, receive, send)
            answer: App = refusal if refusal is not None else self._app
            await answer(scope, receive, send)
        except Exception as error:
            logging.warning("a request could not be answered (%s: %s)", type(error).__name__, brief(error))
            logging.debug("the request", exc_info=True)
            if not send.begun and not request.is_websocket:
                await self.refuse(500, "the request could not be answered")(scope, receive, send)

    def refuse(self, status: int, reason: str, **headers: str) -> Response:
        """Return the answer to a request that is refused, with further headers (``retry_after`` for Retry-After)."""
        return PlainTextResponse(reason + "\n", status_code=status, headers=uncached(headers))

    def headers_of(self, request: Request) -> Mapping[str, str]:
        """Return the headers that an answer has in any case, by names in lower case."""
        return self.headers

    def opens_a_page(self, request: Request) -> bool:
        """Return whether a browser may come here from anywhere, by a link."""
        return False

    def most_bytes(self, request: Request) -> int:
        """Return the largest size of a POST request's body."""
        return self._limits.message_bytes

    def needs_name(self, request: Request) -> bool:
        """Return whether the Host header has to be one of the names that are served."""
        return True

    def admission(self, request: Request) -> Response | None:
        """Return the answer to a request without the secret, or None if it is let in."""
        authorization = request.headers.get("authorization")
        if authorization is not None and self._tally.logins.wait(request.address):
            return self.refuse(429, "too many attempts; wait a minute", retry_after="60")
        if self.knows_secret(request):
            return None
        if authorization is not None:
            self._tally.logins.take(request.address)
        return self.ask_for_secret(request)

    def knows_secret(self, request: Request) -> bool:
        """Return whether a request comes with the secret, or whether there is none."""
        return self._access.admits(None, request.headers.get("authorization"))

    def ask_for_secret(self, request: Request) -> Response:
        """Return the answer to a request that comes without the secret, or with a wrong one."""
        return self.refuse(401, "the secret is needed", www_authenticate="Bearer")

    def answer_of_its_own(self, request: Request, body: bytes) -> Response | None:
        """Return the answer to a POST request that is the door's own, or None for those that pass."""
        return None

    def _refusal(self, request: Request) -> Response | None:
        """Return the answer to a request that the application shall not see, or None for all others."""
        hosts = request.all("host")
        if len(hosts) != 1:
            return self.refuse(400, "the request names no host, or several")
        if self.needs_name(request) and not self._access.serves(hosts[0]):
            return self.refuse(421, "this host is not served here; open the address that the server was started with")
        if not is_same_origin(request.headers, hosts[0], navigates=self.opens_a_page(request)):
            return self.refuse(403, "requests from other pages are refused")
        if not request.is_websocket:
            if request.method not in _METHODS:
                return self.refuse(405, "only GET, HEAD and POST are understood", allow=", ".join(_METHODS))
            if refusal := self._bad_size(request):
                return refusal
        return self.admission(request)

    def _bad_size(self, request: Request) -> Response | None:
        most = self.most_bytes(request) if request.method == "POST" else 0
        length = request.headers.get("content-length", "" if request.method == "POST" else "0")
        stated = length.isascii() and length.isdecimal() and "transfer-encoding" not in request.headers
        if not stated or len(length) > 19 or int(length) > most:
            told = f"the request is too large, or does not tell its size; at most {most} bytes are taken"
            return self.refuse(413, told)
        return None

    async def _with_body(self, request: Request, receive: Receive, send: Send) -> None:
        """Read the body, which has to come within a time, and then answer the request."""
        try:
            seconds = self._limits.body_seconds + int(request.headers["content-length"]) // self._limits.body_rate
            async with asyncio.timeout(seconds):
                body = await self._read(receive, self.most_bytes(request))
        except TimeoutError:
            late = self.refuse(408, "the request took too long to come", connection="close")
            return await late(request.scope, receive, send)
        if body is None:
            told = "too much is being uploaded; try again in a minute"
            busy = self.refuse(503, told, connection="close", retry_after="60")
            return await busy(request.scope, receive, send)
        if (own := self.answer_of_its_own(request, body)) is not None:
            return await own(request.scope, receive, send)
        waiting = [body]  # counted, and kept, until the application takes it
        self._tally.held += len(body)
        del body

        async def replay() -> Message:
            if not waiting:
                return await receive()
            taken = waiting.pop()
            self._tally.held -= len(taken)
            return {"type": "http.request", "body": taken, "more_body": False}

        try:
            await self._app(request.scope, replay, send)
        finally:
            self._tally.held -= sum(map(len, waiting))

    async def _read(self, receive: Receive, most: int) -> bytes | None:
        """Return the body of a request; None if it, or all those on their way, are too large, or the client left."""
        body = bytearray()
        try:
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return None
                part = message.get("body", b"")
                body += part
                self._tally.held += len(part)
                if len(body) > most or self._tally.held > self._limits.bodies_bytes:
                    return None
                if not message.get("more_body", False):
                    return bytes(body)
        finally:
            self._tally.held -= len(body)


class Request:
    """The parts of an ASGI scope that the guard reads."""

    def __init__(self, scope: MutableMapping[str, Any]):
        self.scope = scope
        self.is_websocket = scope["type"] == "websocket"
        self.method: str = scope.get("method", "GET")
        self.path: str = scope["path"]
        self.address: str = (scope.get("client") or ("", 0))[0]
        self.headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}

    def all(self, name: str) -> list[str]:
        """Return every value of a header."""
        return [value.decode("latin-1") for key, value in self.scope["headers"] if key.decode("latin-1") == name]

    def cookie(self, name: str) -> str | None:
        try:
            found = SimpleCookie(self.headers.get("cookie", "")).get(name)
        except CookieError:
            return None
        return found.value if found else None


class _Answers:
    """``send`` that protects what is sent: headers are added, those of cross-origin sharing removed."""

    def __init__(self, send: Send, headers: Mapping[str, str]):
        self._send, self._headers = send, headers
        self.begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.accept"):
            self.begun = True
        if message["type"] == "http.response.start":
            ours = [(name.encode(), value.encode()) for name, value in self._headers.items()]
            theirs = [
                (name, value)
                for name, value in message.get("headers", [])
                if name.decode("latin-1").lower() not in self._headers
                and not name.lower().startswith(b"access-control-")
            ]
            message = {**message, "headers": theirs + ours}
        await self._send(message)


def uncached(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers, written with underscores, of an answer that nobody keeps."""
    return {"cache-control": "no-store"} | {name.replace("_", "-"): value for name, value in headers.items()}
