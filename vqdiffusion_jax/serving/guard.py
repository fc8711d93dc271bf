"""The door of the API: the guard of ``web``, with a key, and errors in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from starlette.responses import JSONResponse, Response

from ..web.access import Access
from ..web.guard import App, Guard, Message, Receive, Request, Send, Tally, uncached
from .limits import Limits
from .refusals import as_table

EDITS, FILES = "/v1/images/edits", "/v1/files/"
GENERATIONS, HEALTH, COUNTS = "/v1/images/generations", "/health", "/metrics"
DOCS, DESCRIPTION = "/docs", "/openapi.json"  # the page that describes the API, and what it reads
_COUNTED = (GENERATIONS, EDITS, "/v1/models", HEALTH, COUNTS)
HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
# Swagger UI, which FastAPI's page of the API loads from a network for such files.
_OF_DOCS = HEADERS | {
    "content-security-policy": "default-src 'none'; connect-src 'self'; script-src https://cdn.jsdelivr.net "
    "'unsafe-inline'; style-src https://cdn.jsdelivr.net 'unsafe-inline'; img-src 'self' data: "
    "https://fastapi.tiangolo.com; frame-ancestors 'none'"
}


class ApiGuard(Guard):
    """The guard of the API.

    A request with the key may name any host, as load balancers do: a page that a stranger's name leads here (DNS
    rebinding) has no key.
    told: takes the path, or "other", and the status of every answer.
    docs: what stands before DOCS and DESCRIPTION in their paths.
    """

    headers = HEADERS

    def __init__(
        self,
        app: App,
        *,
        access: Access,
        limits: Limits,
        told: Callable[[str, int], None] = lambda path, status: None,
        docs: str = "",
        tally: Tally | None = None,
    ):
        super().__init__(app, access=access, limits=limits, tally=tally)
        self._told, self._docs, self._description = told, docs + DOCS, docs + DESCRIPTION

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._told(self._counted_as(scope["path"]), message["status"])
            await send(message)

        await super().__call__(scope, receive, counted)

    def refuse(self, status: int, reason: str, **headers: str) -> Response:
        return JSONResponse(as_table(status, reason), status, headers=uncached(headers))

    def headers_of(self, request: Request) -> Mapping[str, str]:
        return _OF_DOCS if request.path == self._docs else self.headers

    def opens_a_page(self, request: Request) -> bool:
        return request.method == "GET" and (request.path == self._docs or request.path.startswith(FILES))

    def most_bytes(self, request: Request) -> int:
        return 2 * self._limits.body_bytes if request.path == EDITS else super().most_bytes(request)

    def needs_name(self, request: Request) -> bool:
        return self._access.password is None

    def admission(self, request: Request) -> Response | None:
        if self.is_open(request) or self.knows_secret(request):
            return None
        # Nobody is locked out for wrong keys: behind a load balancer all clients have one address.
        return self.ask_for_secret(request)

    def is_open(self, request: Request) -> bool:
        """Return whether a path is answered without the key."""
        return request.path in (HEALTH, self._docs, self._description) or is_file(request)

    def ask_for_secret(self, request: Request) -> Response:
        told = "the key of this server is needed: Authorization: Bearer KEY"
        return self.refuse(401, told, www_authenticate="Bearer")

    def _counted_as(self, path: str) -> str:
        known = (*_COUNTED, self._docs, self._description)
        return path if path in known else FILES if path.startswith(FILES) else "other"


def is_file(request: Request) -> bool:
    """Return whether a request is for a picture, whose name is a secret itself."""
    return request.path.startswith(FILES)
