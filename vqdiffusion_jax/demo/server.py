"""The server of the page and of the API beside it: one process, guarded, which ends within seconds of Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import app, core, ui
from nicegui.client import Client
from nicegui.server import Server
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from ..serving.service import Service
from ..web.access import Access
from ..web.connections import bounded_connections
from ..web.ending import GRACE, end, end_in_time
from ..web.guard import App, Tally
from ..web.log_lines import one_line_logs
from .api import Beside, api_of_page
from .guard import HEADERS, PageGuard
from .limits import Limits
from .messages import check_messages
from .packets import check_packets
from .page import Pages
from .wording import TITLE


def serve(
    pages: Pages,
    service: Service,
    access: Access,
    limits: Limits,
    *,
    port: int,
    address: str | None = None,
    debug: bool = False,
) -> None:
    """Serve a page and an API until interrupted, and then end the process.

    address: of the server as clients of the API see it, for URLs.  debug: keep tracebacks in the log.
    """
    tally = Tally(limits)
    ui.page("/", title=TITLE)(pages.visit)
    app.add_exception_handler(404, _not_found)
    app.add_middleware(PageGuard, access=access, limits=limits, visits=lambda: len(Client.instances), tally=tally)
    api = api_of_page(service, access, limits, address=address, runs=pages.runs, tally=tally)
    _put_outermost(lambda page: Beside(page, api=api))
    core.sio.eio.cors_allowed_origins = []  # the guard refuses other origins; nothing is said about them
    core.sio.eio.max_http_buffer_size = limits.message_bytes
    check_packets()
    check_messages(limits, pages.tell)
    with one_line_logs(debug=debug):
        end_in_time(_is_ending, service.batches.close)
        try:
            ui.run(
                host=access.host,
                port=port,
                title=TITLE,
                dark=None,
                reload=False,
                show=False,
                show_welcome_message=False,
                reconnect_timeout=30.0,
                message_history_length=100,  # of a visit, kept until the browser has them
                http=bounded_connections(limits),
                h11_max_incomplete_event_size=limits.header_bytes,
                limit_concurrency=limits.connections,
                timeout_graceful_shutdown=GRACE,
                ws_max_size=limits.message_bytes,
                ws_per_message_deflate=False,  # a small message cannot become a large one
                proxy_headers=False,  # the address of a visitor is that of the connection
                server_header=False,
                access_log=False,
            )
        except KeyboardInterrupt:
            pass
        end()


def _put_outermost(around: Callable[[App], App]) -> None:
    """Put an application around the page and all of its middleware.

    NiceGUI adds its own when it starts, outside of what was added before; Starlette's base class of these hides from an
    application that its client has left.
    """
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: around(build())


def _is_ending() -> bool:
    return bool(getattr(Server, "instance", None) and Server.instance.should_exit)


def _not_found(request: Request, error: Exception) -> PlainTextResponse:
    return PlainTextResponse("there is no such page\n", status_code=404, headers=HEADERS)
