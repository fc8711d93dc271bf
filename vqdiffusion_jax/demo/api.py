"""The API beside the page: its paths, behind a guard that lets in who may open the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import MutableMapping
from functools import partial
from typing import Any

from starlette.responses import Response

from ..serving.application import application
from ..serving.guard import COUNTS, EDITS, GENERATIONS, HEALTH, ApiGuard, is_file
from ..serving.service import Service
from ..web.access import Access, is_local
from ..web.guard import App, Guard, Receive, Request, Send, Tally
from ..web.rates import Allowance
from .guard import COOKIE
from .limits import Limits

PREFIX = "/v1"
_DRAWING = (GENERATIONS, EDITS)


class Beside:
    """An ASGI application that gives the API's paths to the API, and all others to the page."""

    def __init__(self, page: App, *, api: App):
        self._page, self._api = page, api

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        asks = scope["type"] == "http" and (path.startswith(f"{PREFIX}/") or path in (HEALTH, COUNTS))
        await (self._api if asks else self._page)(scope, receive, send)


class ApiGuardOfPage(ApiGuard):
    """The guard of the API on the page's server.

    The secret is the page's password, as bearer or by the cookie of who typed it.  The host has to be named rightly in
    any case, nothing but the health and the files of URLs is open, and whoever guesses passwords has to wait.
    runs: of an address of another machine, those of its pages included; each: requests of one that are drawn at once.
    """

    def __init__(self, app: App, *, runs: Allowance, each: int, **options: Any):
        super().__init__(app, **options)
        self._runs, self._each = runs, each
        self._asking: Counter[str] = Counter()  # requests of each address for pictures, not answered yet

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        request = Request(scope)
        if not _is_bounded(request):
            return await super().__call__(scope, receive, send)
        self._asking[request.address] += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._asking[request.address] -= 1
            if not self._asking[request.address]:
                del self._asking[request.address]

    def needs_name(self, request: Request) -> bool:
        return True

    def is_open(self, request: Request) -> bool:
        return request.path == HEALTH or is_file(request)

    def knows_secret(self, request: Request) -> bool:
        return self._access.admits(request.cookie(COOKIE), request.headers.get("authorization"))

    def admission(self, request: Request) -> Response | None:
        if self.is_open(request):
            return None
        return Guard.admission(self, request) or (self._too_many(request) if _is_bounded(request) else None)

    def ask_for_secret(self, request: Request) -> Response:
        told = "the password of the page is needed: Authorization: Bearer PASSWORD"
        return self.refuse(401, told, www_authenticate="Bearer")

    def _too_many(self, request: Request) -> Response | None:
        if self._asking[request.address] > self._each:
            told = f"{self._each} of your requests are not done; come again when one has been drawn"
            return self.refuse(429, told, retry_after="1")
        if wait := self._runs.take(request.address):
            return self.refuse(
                429, f"too many runs; come again in {int(wait) + 1} seconds", retry_after=str(int(wait) + 1)
            )
        return None


def api_of_page(
    service: Service, access: Access, limits: Limits, *, address: str | None, runs: Allowance, tally: Tally
) -> App:
    """Return the application of the API for the page's server.

    address: of the server as clients see it, for URLs.  runs, tally: the page's own.
    """
    guard = partial(ApiGuardOfPage, runs=runs, each=limits.runs_each, tally=tally)
    return application(service, access, address=address, docs=PREFIX, guard=guard)


def _is_bounded(request: Request) -> bool:
    return request.method == "POST" and request.path in _DRAWING and not is_local(request.address)
