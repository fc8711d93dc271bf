"""Servers on this machine that misbehave, each in one way, whatever they are asked."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Send = Callable[[bytes], None]
OK = b'HTTP/1.1 200 OK\r\nETag: "x"\r\n'


def silent(send: Send, ended: threading.Event) -> None:
    """Take the request and never answer."""
    ended.wait()


def dripping(send: Send, ended: threading.Event) -> None:
    """Send a byte now and then."""
    for number in range(10_000):
        if ended.wait(0.1):
            return
        send((OK + b"X-Header: " + b"a" * 10_000)[number : number + 1])


def dripping_body(send: Send, ended: threading.Event) -> None:
    """Send headers at once, and a byte of the body now and then."""
    send(OK + b"Content-Length: 5000\r\n\r\n")
    while not ended.wait(0.1):
        send(b"x")


def endless(send: Send, ended: threading.Event) -> None:
    """Send a body without end."""
    send(OK + b"Connection: close\r\n\r\n")
    while not ended.is_set():
        send(bytes(2**16))


def larger(send: Send, ended: threading.Event) -> None:
    """Announce more bytes than anybody has been told of, and send them."""
    send(OK + b"Content-Length: 2000000000000\r\n\r\n")
    while not ended.is_set():
        send(bytes(2**16))


def pages(body: bytes) -> Callable[[Send, threading.Event], None]:
    """Send this body whatever is asked, and close the connection."""

    def answer(send: Send, ended: threading.Event) -> None:
        send(OK + b"Content-Type: application/json\r\nConnection: close\r\n")
        send(f"Content-Length: {len(body)}\r\n\r\n".encode() + body)

    return answer


def halving(send: Send, ended: threading.Event) -> None:
    """Close the connection half way through the body."""
    send(OK + b"Content-Length: 5000\r\n\r\n" + bytes(2500))


def failing(send: Send, ended: threading.Event) -> None:
    """Answer that the server is at fault."""
    send(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@contextmanager
def misbehaving(how: Callable[[Send, threading.Event], None]) -> Iterator[str]:
    """Serve in this way and yield the address."""
    ended = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                self.request.recv(2**16)
                how(self.request.sendall, ended)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            ended.set()
            server.shutdown()
