"""The API's server: one process, guarded, which ends within seconds of Ctrl-C or SIGTERM."""

from __future__ import annotations

import contextlib
import signal
import socket

import uvicorn

from ..web.access import Access
from ..web.connections import bounded_connections
from ..web.ending import GRACE, end, end_in_time
from ..web.log_lines import one_line_logs
from .application import application
from .service import Service


class Server(uvicorn.Server):
    """A server that, told to end, refuses what waits at once, so that clients can ask another one."""

    def __init__(self, config: uvicorn.Config, service: Service):
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Not where the signal comes: the thread that it interrupts may be changing the queue.
        self._service.batches.close()
        await super().shutdown(sockets)


def server_of(service: Service, access: Access, *, port: int, address: str | None = None) -> Server:
    """Return a server that is not running yet.  address: of the server as clients see it, for URLs."""
    limits = service.limits
    config = uvicorn.Config(
        application(service, access, address=address),
        host=access.host,
        port=port,
        http=bounded_connections(limits),
        h11_max_incomplete_event_size=limits.header_bytes,
        limit_concurrency=limits.connections,
        timeout_graceful_shutdown=GRACE,
        ws="none",
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
    )
    return Server(config, service)


def serve(service: Service, access: Access, *, port: int, address: str | None = None, debug: bool = False) -> None:
    """Serve the API until interrupted, and then end the process.  debug: keep tracebacks in the log."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # which the server calls once it has ended
    server = server_of(service, access, port=port, address=address)
    with one_line_logs(debug=debug):
        end_in_time(lambda: server.should_exit)
        with contextlib.suppress(KeyboardInterrupt):
            server.run()
        end()
