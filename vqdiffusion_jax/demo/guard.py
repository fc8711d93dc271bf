"""The door of the page: every request passes it before the page sees it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from ..errors import brief
from .access import Access, is_local, is_same_origin
from .limits import Limits
from .rates import Allowance

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

COOKIE = "vqdiffusion_page"
LOGIN = "/login"
_UPLOADS = "/_nicegui/client/"  # paths that take files
_METHODS = ("GET", "HEAD", "POST")
_LONGEST_LOGIN = 4096  # bytes
# NiceGUI compiles templates and handlers in the browser, so scripts need inline code and eval; nothing comes from
# another host, and no other page may frame this one.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": _POLICY,
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_FORM = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Password</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body style="font-family: sans-serif; max-width: 20rem; margin: 4rem auto">
<form method="post" action="{LOGIN}">
<p><label>Password of this page<br><input type="password" name="password" autofocus required></label></p>
<p role="alert">{{mistake}}</p>
<p><button>Open</button></p>
</form></body></html>
"""


class Guard:
    """An ASGI application around another: it answers, or refuses, all that the other shall not see.

    It checks the Host header, the origin, the password, methods, sizes and the time that a body takes, limits how many
    pages are opened, adds headers that protect the page, removes those that let other pages read it, and turns an
    error into a line.
    visits: returns the number of open visits.
    """

    def __init__(self, app: App, *, access: Access, limits: Limits, visits: Callable[[], int] = lambda: 0):
        self._app, self._access, self._limits, self._visits = app, access, limits, visits
        self._logins = Allowance(limits.logins_a_minute, 60.0)
        self._pages = Allowance(limits.pages_a_minute, 60.0)
        self._held = 0  # bytes of bodies on their way

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        request = _Request(scope)
        send = _Answers(send)
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
                await _refuse(500, "the request could not be answered")(scope, receive, send)

    def _refusal(self, request: _Request) -> Response | None:
        """Return the answer to a request that the page shall not see, or None for all others."""
        hosts = request.all("host")
        if len(hosts) != 1:
            return _refuse(400, "the request names no host, or several")
        if not self._access.serves(hosts[0]):
            return _refuse(421, "this host is not served here; open the address that the page was started with")
        navigates = request.method == "GET" and not request.is_websocket and request.path == "/"
        if not is_same_origin(request.headers, hosts[0], navigates=navigates):
            return _refuse(403, "requests from other pages are refused")
        if not request.is_websocket:
            if request.method not in _METHODS:
                return _refuse(405, "only GET, HEAD and POST are understood", allow=", ".join(_METHODS))
            if refusal := self._bad_size(request):
                return refusal
        if self._access.password is not None and request.path == LOGIN:
            return None if request.method == "POST" and not request.is_websocket else _login_form(200)
        authorization = request.headers.get("authorization")
        if authorization is not None and self._logins.wait(request.address):
            return _refuse(429, "too many attempts; wait a minute")
        if not self._access.admits(request.cookie(COOKIE), authorization):
            if authorization is not None:
                self._logins.take(request.address)
            return _login_form(401) if navigates else _refuse(401, "the page asks for a password")
        return self._too_many(request) if navigates else None

    def _bad_size(self, request: _Request) -> Response | None:
        most = self._most_bytes(request)
        length = request.headers.get("content-length", "" if request.method == "POST" else "0")
        stated = length.isascii() and length.isdecimal() and "transfer-encoding" not in request.headers
        if not stated or len(length) > 19 or int(length) > most:
            return _refuse(413, f"the request is too large, or does not tell its size; at most {most} bytes are taken")
        return None

    def _most_bytes(self, request: _Request) -> int:
        if request.method != "POST":
            return 0
        return self._limits.body_bytes if request.path.startswith(_UPLOADS) else self._limits.message_bytes

    def _too_many(self, request: _Request) -> Response | None:
        if self._visits() >= self._limits.visits:
            return _refuse(503, "too many visitors; try again in a minute", retry_after="60")
        if not is_local(request.address) and (wait := self._pages.take(request.address)):
            return _refuse(429, "too many pages opened; try again in a minute", retry_after=str(int(wait) + 1))
        return None

    async def _with_body(self, request: _Request, receive: Receive, send: Send) -> None:
        """Read the body, which has to come within a time, and then answer the request."""
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                body = await self._read(receive, self._most_bytes(request))
        except TimeoutError:
            late = _refuse(408, "the request took too long to come", connection="close")
            return await late(request.scope, receive, send)
        if body is None:
            busy = _refuse(503, "too much is being uploaded; try again in a minute", connection="close")
            return await busy(request.scope, receive, send)
        if request.path == LOGIN and self._access.password is not None:
            return await self._login(request, body)(request.scope, receive, send)
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(request.scope, replay, send)

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
                self._held += len(part)
                if len(body) > most or self._held > self._limits.bodies_bytes:
                    return None
                if not message.get("more_body", False):
                    return bytes(body)
        finally:
            self._held -= len(body)

    def _login(self, request: _Request, body: bytes) -> Response:
        if self._logins.take(request.address):
            return _refuse(429, "too many attempts; wait a minute")
        try:
            fields = parse_qs(body[:_LONGEST_LOGIN].decode("ascii"), max_num_fields=4)
        except ValueError:
            return _login_form(400, "That cannot be read.")
        if not self._access.is_password(fields.get("password", [""])[0]):
            return _login_form(401, "That is not the password.")
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(COOKIE, self._access.session, httponly=True, samesite="strict")
        return answer


class _Request:
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
    """``send`` that protects what is sent: HEADERS are added, those of cross-origin sharing removed."""

    def __init__(self, send: Send):
        self._send = send
        self.begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.accept"):
            self.begun = True
        if message["type"] == "http.response.start":
            ours = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            theirs = [
                (name, value)
                for name, value in message.get("headers", [])
                if name.decode("latin-1").lower() not in HEADERS and not name.lower().startswith(b"access-control-")
            ]
            message = {**message, "headers": theirs + ours}
        await self._send(message)


def _refuse(status: int, reason: str, **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return PlainTextResponse(reason + "\n", status_code=status, headers={"cache-control": "no-store", **named})


def _login_form(status: int, mistake: str = "") -> Response:
    headers = {"cache-control": "no-store"} | ({"www-authenticate": "Bearer"} if status == 401 else {})
    return HTMLResponse(_FORM.format(mistake=mistake), status_code=status, headers=headers)
