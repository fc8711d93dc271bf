"""The door of the page: the guard of ``web``, and a form for the password."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs

from starlette.responses import HTMLResponse, RedirectResponse, Response

from ..web.access import Access, is_local
from ..web.guard import App, Guard, Request, Tally
from ..web.rates import Allowance
from .limits import Limits

COOKIE = "vqdiffusion_page"
LOGIN = "/login"
_UPLOADS = "/_nicegui/client/"  # paths that take files
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


class PageGuard(Guard):
    """The guard of the page, which also limits how many pages are opened.

    visits: returns the number of open visits.
    """

    headers = HEADERS

    def __init__(
        self,
        app: App,
        *,
        access: Access,
        limits: Limits,
        visits: Callable[[], int] = lambda: 0,
        tally: Tally | None = None,
    ):
        super().__init__(app, access=access, limits=limits, tally=tally)
        self._visits, self._most_visits = visits, limits.visits
        self._pages = Allowance(limits.pages_a_minute, 60.0)

    def opens_a_page(self, request: Request) -> bool:
        return request.method == "GET" and not request.is_websocket and request.path == "/"

    def most_bytes(self, request: Request) -> int:
        return self._limits.body_bytes if request.path.startswith(_UPLOADS) else super().most_bytes(request)

    def admission(self, request: Request) -> Response | None:
        if self._access.password is not None and request.path == LOGIN:
            return None if request.method == "POST" and not request.is_websocket else _login_form(200)
        if refusal := super().admission(request):
            return refusal
        return self._too_many(request) if self.opens_a_page(request) else None

    def knows_secret(self, request: Request) -> bool:
        return self._access.admits(request.cookie(COOKIE), request.headers.get("authorization"))

    def ask_for_secret(self, request: Request) -> Response:
        return _login_form(401) if self.opens_a_page(request) else self.refuse(401, "the page asks for a password")

    def answer_of_its_own(self, request: Request, body: bytes) -> Response | None:
        if request.path != LOGIN or self._access.password is None:
            return None
        return self._login(request, body)

    def _too_many(self, request: Request) -> Response | None:
        if self._visits() >= self._most_visits:
            return self.refuse(503, "too many visitors; try again in a minute", retry_after="60")
        if not is_local(request.address) and (wait := self._pages.take(request.address)):
            return self.refuse(429, "too many pages opened; try again in a minute", retry_after=str(int(wait) + 1))
        return None

    def _login(self, request: Request, body: bytes) -> Response:
        if self._tally.logins.take(request.address):
            return self.refuse(429, "too many attempts; wait a minute")
        try:
            fields = parse_qs(body[:_LONGEST_LOGIN].decode("ascii"), max_num_fields=4)
        except ValueError:
            return _login_form(400, "That cannot be read.")
        if not self._access.is_password(fields.get("password", [""])[0]):
            return _login_form(401, "That is not the password.")
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(COOKIE, self._access.session, httponly=True, samesite="strict")
        return answer


def _login_form(status: int, mistake: str = "") -> Response:
    headers = {"cache-control": "no-store"} | ({"www-authenticate": "Bearer"} if status == 401 else {})
    return HTMLResponse(_FORM.format(mistake=mistake), status_code=status, headers=headers)
