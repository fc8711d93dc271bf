"""The door of the API: the guard of ``web``, with a key, and errors in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from starlette.responses import JSONResponse, Response

from ..web.access import Access
from ..web.guard import App, Guard, Message, Receive, Request, Send, uncached
from .errors import as_table
from .limits import Limits

EDITS, FILES = "/v1/images/edits", "/v1/files/"
PATHS = ("/v1/images/generations", EDITS, "/v1/models", "/health", "/metrics", "/docs", "/openapi.json")
_OPEN = ("/health", "/docs", "/openapi.json")  # without the key; the names of files are secrets themselves
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
    """

    headers = HEADERS

    def __init__(
        self, app: App, *, access: Access, limits: Limits, told: Callable[[str, int], None] = lambda path, status: None
    ):
        super().__init__(app, access=access, limits=limits)
        self._told = told

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._told(_counted_as(scope["path"]), message["status"])
            await send(message)

        await super().__call__(scope, receive, counted)

    def refuse(self, status: int, reason: str, **headers: str) -> Response:
        return JSONResponse(as_table(status, reason), status, headers=uncached(headers))

    def headers_of(self, request: Request) -> Mapping[str, str]:
        return _OF_DOCS if request.path == "/docs" else self.headers

    def opens_a_page(self, request: Request) -> bool:
        return request.method == "GET" and (request.path == "/docs" or request.path.startswith(FILES))

    def most_bytes(self, request: Request) -> int:
        return 2 * self._limits.body_bytes if request.path == EDITS else super().most_bytes(request)

    def needs_name(self, request: Request) -> bool:
        return self._access.password is None

    def admission(self, request: Request) -> Response | None:
        if request.path in _OPEN or request.path.startswith(FILES) or self.knows_secret(request):
            return None
        # Nobody is locked out for wrong keys: behind a load balancer all clients have one address.
        told = "the key of this server is needed: Authorization: Bearer KEY"
        return self.refuse(401, told, www_authenticate="Bearer")


def _counted_as(path: str) -> str:
    return path if path in PATHS else FILES if path.startswith(FILES) else "other"
