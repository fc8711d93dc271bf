"""Hostile requests to ``--mode=serve``, by sockets, as bytes: what a client of the library would never send."""

from __future__ import annotations

import functools
import json
import logging
import os
import random
import re
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import _hostile_mutations as mutate
from benchmarks._hostile_formats import of_picture
from benchmarks._hostile_specimens import picture_bytes
from vqdiffusion_jax import VQDiffusionPipeline
from vqdiffusion_jax.errors import UsageError
from vqdiffusion_jax.serving.drawing import Drawn
from vqdiffusion_jax.serving.limits import Limits
from vqdiffusion_jax.serving.server import server_of
from vqdiffusion_jax.serving.service import Service
from vqdiffusion_jax.web.access import Access

if TYPE_CHECKING:
    from benchmarks._hostile_case import Case

_KEY = "a key of sixteen characters"
_LIMITS = {
    "header_seconds": 0.5,
    "body_seconds": 0.5,
    "waiting": 16,
    "kept": 8,
    "upload_bytes": 2**20,
    "bodies_bytes": 2**22,
}
_SECONDS = 8.0  # for any answer
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_GENERATIONS, _EDITS = "/v1/images/generations", "/v1/images/edits"
_PATHS = (
    _GENERATIONS,
    _EDITS,
    "/v1/models",
    "/v1/models/m",
    "/v1/models/../m",
    "/v1/files/..",
    "/v1/files/%2e%2e%2fetc",
    "/v1/files/a.png",
    "/v1/models/%00",
    "/v1/models/\x80",
    "//v1/models",
    "/v1/models/" + "a/" * 3000,
    "*",
    "",
    "http://evil.example/v1/models",
    "/v1/models?" + "a=b&" * 2000,
    "/%",
    "/%ff%fe",
    "/docs",
    "/openapi.json",
    "/metrics",
    "/health",
    "/v1/models/\u202e",
    "/v1/models#x",
    "/..;/health",
    "/v1/images/generations/",
)
_METHODS = (
    "GET",
    "POST",
    "HEAD",
    "PUT",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "PATCH",
    "get",
    "X" * 5000,
    "PRI",
    "",
)
_HOSTS = (
    "127.0.0.1",
    "localhost",
    "[::1]",
    "evil.example",
    "127.0.0.1@evil.example",
    "",
    "a" * 5000,
    "127.0.0.1:99999999",
    "LOCALHOST.",
    "0",
    "127.1",
    "\x80",
    "localhost, evil.example",
    "[",
    "127.0.0.1/..",
    "%6cocalhost",
)
_HEADERS = (
    "Origin: null",
    "Origin: http://evil.example",
    "Origin: http://127.0.0.1",
    "Authorization: Bearer ",
    "Cookie: a=\x80",
    f"Authorization: Bearer {_KEY}",
    "Authorization: Bearer " + "x" * 9000,
    "Authorization: Basic YTpi",
    "X: " + "y" * 20_000,
    "Authorization: Bearer \xff",
    "Host: evil.example",
    "Content-Length: 5",
    "Content-Length: -1",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Expect: 100-continue",
    "Expect: 200-maybe",
    "Upgrade: websocket",
    "Upgrade: h2c",
    "Connection: close, upgrade",
    "X-Forwarded-For: 1.2.3.4",
    "X-Forwarded-Host: evil.example",
    "Range: bytes=0-",
    "Content-Encoding: gzip",
    "Sec-Fetch-Site: cross-site",
    "Bad Header: x",
    ": x",
    "X : y",
    "\tX: y",
    "X: a\x00b",
    "Accept-Encoding: " + "gzip," * 1000,
    "If-None-Match: *",
    "X-HTTP-Method-Override: DELETE",
    "Content-Length: " + "9" * 400,
    "Content-Type: application/json; charset=utf-99",
)
_NUMBERS = (
    "-1",
    "0",
    "1e9",
    "1000000000",
    "9" * 400,
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "1.5",
    "true",
    '"2"',
    "[]",
)
_FIELDS = ("n", "seed", "guidance_scale", "num_inference_steps", "top_k", "batch_size", "temperature", "purity")
_TEXTS = (
    "\u202e",
    "\ud800",
    "\x00",
    "\x1b[31m",
    "\u0301" * 3000,
    "\U0001f600" * 150,
    "\r\nX: y",
    "a" * 10**5,
    "\ufeff",
)
_BODIES = (
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'{"prompt": "a", "prompt": "b"}',
    b"{}",
    b"",
    b"null",
    b"\xff\xfe{\x00}\x00",
    b'{"prompt": ' + b"9" * 10_000 + b"}",
    b"[" + b"[]," * 300_000 + b"1]",
    b'{"n": 1e999}',
    b"\x00" * 2**20,
    b'{"prompt": "' + b"\\ud800" * 1000 + b'"}',
    b'{"prompt":"a"}garbage',
    b"{'prompt': 'a'}",
    b"x" * (2**20 + 1),
)
_TYPES = (
    "application/json",
    "text/plain",
    "multipart/form-data; boundary=b",
    "multipart/form-data",
    "multipart/form-data; boundary=" + "b" * 5000,
    "multipart/form-data; boundary=\x80",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=b; boundary=c",
    'multipart/form-data; boundary="',
    "",
    "multipart/mixed; boundary=b",
)


class _Served:
    """A server in a thread of this process, which answers with small files in place of pictures."""

    def __init__(self, whole: Path, key: str | None):
        pipeline = VQDiffusionPipeline.from_pretrained(whole / "model")
        self.service = Service(pipeline, Limits(**_LIMITS), name="m", origin={"checkpoint": "m"})
        self.service.batches._draw = lambda settings, stopped: [Drawn(b"png", one.seed, None) for one in settings]
        self.log: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: self.log.append(record.getMessage() + str(record.exc_info or ""))
        logging.getLogger().addHandler(handler)
        server = server_of(self.service, Access("127.0.0.1", key), port=0)
        threading.Thread(target=server.run, daemon=True).start()
        while not server.started:
            time.sleep(0.01)
        self.port = server.servers[0].sockets[0].getsockname()[1]


@functools.cache
def _served(whole: Path, process: int, key: str | None) -> _Served:
    return _Served(whole, key)


def served(case: Case) -> None:
    """Bytes of a client that wishes the server ill; it must answer or close soon, and then answer others."""
    key = case.draw.choice((None, None, _KEY))
    server = _served(case.whole, os.getpid(), key)
    server.log.clear()
    kind = case.draw.choice((request, request, request, table, table, form, form, slow, None))
    if kind is None:
        answer = _left(server, case.draw)
    else:
        pieces = kind(case.draw)
        between = 0.2 if 1 < len(pieces) < 10 else 0.0
        answer = sent(server.port, pieces, between=between, ends=case.draw.random() < 0.25)
    others_are_answered(server.port)
    statuses = statuses_of(answer)
    if any(status == 500 for status in statuses) or server.log and any(_is_fault(line) for line in server.log):
        raise RuntimeError(f"statuses {statuses}, log {server.log[:2]}: {answer[:200]!r}")
    if not statuses or max(statuses) >= 400:
        raise UsageError(f"statuses {statuses}")


def statuses_of(answer: bytes) -> list[int]:
    return [int(found) for found in _STATUS.findall(answer)]


def others_are_answered(port: int) -> None:
    """Raise RuntimeError if a server does not tell its health, and soon (``sent``)."""
    answer = sent(port, [b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"], until_head=True)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"others were answered {answer[:100]!r}")


def _is_fault(line: str) -> bool:
    # A body that is no HTTP is answered by the server itself, and what the application then says comes too late.
    return "could not be" in line and "LocalProtocolError" not in line


def sent(
    port: int, pieces: list[bytes], *, between: float = 0.0, until_head: bool = False, ends: bool = False
) -> bytes:
    """Send pieces and return all that comes until the server closes, or is done; raises RuntimeError if it does not."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=_SECONDS) as client:
        try:
            for piece in pieces:
                client.sendall(piece)
                time.sleep(between)
            if ends:
                client.shutdown(socket.SHUT_WR)
            while data := client.recv(2**16):
                answer += data
                if until_head and b"\r\n\r\n" in answer:
                    break
        except TimeoutError as error:
            raise RuntimeError(f"no end of the answer in {_SECONDS} s: {answer[:100]!r}") from error
        except OSError:  # the server has closed before it was told all
            pass
    return answer


def head_of(method: str, path: str, host: str, headers: list[str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
    return "\r\n".join(lines).encode("utf-8", "surrogatepass") + b"\r\n\r\n"


def request(draw: random.Random) -> list[bytes]:
    """Heads and bodies that do not fit together, or fit nothing."""
    method = draw.choice(_METHODS) if draw.random() < 0.3 else draw.choice(("GET", "POST", "POST"))
    path = draw.choice((_GENERATIONS, _EDITS)) if method == "POST" and draw.random() < 0.6 else draw.choice(_PATHS)
    body = draw.choice(_BODIES) if method == "POST" else b""
    host = draw.choice(_HOSTS) if draw.random() < 0.15 else "127.0.0.1"
    headers = draw.sample(_HEADERS, draw.choice((0, 0, 1, 1, 2)))
    headers += [f"Content-Type: {draw.choice(_TYPES)}", f"Content-Length: {len(body) + draw.choice((0, 0, 0, -1, 7))}"]
    head = head_of(method, path, host, [*headers, f"Authorization: Bearer {_KEY}"][: draw.choice((99, 99, -1))])
    if draw.random() < 0.15:
        head = mutate.of_bytes(head, draw)
    return [head + body]


def table(draw: random.Random) -> list[bytes]:
    """A table of JSON with hostile values, whole as a request."""
    fields = {"prompt": '"a cat"', draw.choice(_FIELDS): draw.choice((*_NUMBERS, "1", "2", "3"))}
    if draw.random() < 0.5:
        name = draw.choice(("prompt", "user", "size", "model", "response_format", draw.choice(_TEXTS)))
        fields[name] = json.dumps(draw.choice(_TEXTS))
    if draw.random() < 0.2:
        fields[draw.choice(_FIELDS)] = "[" + ",".join([draw.choice(_NUMBERS)] * draw.choice((1, 8, 5000))) + "]"
    text = "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in fields.items()) + "}"
    body = text.encode("utf-8", "surrogatepass")
    if draw.random() < 0.2:
        body = mutate.of_bytes(body, draw)
    headers = [f"Authorization: Bearer {_KEY}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    return [head_of("POST", _GENERATIONS, "127.0.0.1", headers) + body]


def form(draw: random.Random) -> list[bytes]:
    """A form with pictures that are bombs or none, and parts that are no parts."""
    body = parts(draw)
    kind = draw.choice(_TYPES) if draw.random() < 0.15 else "multipart/form-data; boundary=b"
    headers = [f"Authorization: Bearer {_KEY}", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return [head_of("POST", _EDITS, "127.0.0.1", headers) + body]


def parts(draw: random.Random) -> bytes:
    """Return the body of a form."""
    picture = of_picture(picture_bytes(0), draw, Path()) if draw.random() < 0.6 else picture_bytes(0)
    listed: list[tuple[str, bytes]] = [('name="prompt"', b"a cat"), ('name="image"; filename="a.png"', picture)]
    listed += [('name="strength"', b"0.5")] * draw.choice((0, 1))
    extra: tuple[tuple[str, Any], ...] = (
        ('name="mask"; filename="m.png"', picture_bytes(1)),
        ('name="image"; filename="../../etc/passwd"', picture),
        ('name="image[]"; filename="' + "a" * 5000 + '"', picture),
        ('name="n"', draw.choice(_NUMBERS).encode()),
        ('name="strength"', draw.choice(_NUMBERS).encode()),
        ('name="outpaint"', b"nan,inf,1e999,-1"),
        ("", b"x"),
        ('name="outpaint"', b"0.1,0.1,0.1,0.1"),
        ('name="\xff"', b"x"),
        ('filename="a"', b"x"),
        ('name="strength"', b"0.5"),
        ("name=\"image\"; filename*=utf-99''%00", b"x"),
        ('name="prompt"', b"x" * 2**20),
    )
    listed += draw.choices(extra, k=draw.choice((0, 1, 1, 2, 3)))
    if draw.random() < 0.1:
        listed = [(about, content[:100]) for about, content in listed] * draw.choice((40, 3000))
    body = bytearray()
    for about, content in listed:
        head = f"Content-Disposition: form-data; {about}".encode("latin-1", "replace")
        body += b"--b\r\n" + head + draw.choice((b"", b"\r\nContent-Type: image/png")) + b"\r\n\r\n" + content + b"\r\n"
    body += draw.choice((b"--b--\r\n", b"--b--\r\n", b"--b--\r\n", b"", b"--b"))
    return mutate.of_bytes(bytes(body), draw) if draw.random() < 0.25 else bytes(body)


def slow(draw: random.Random) -> list[bytes]:
    """A head or a body that comes slowly, breaks off, or has no end."""
    headers = [f"Authorization: Bearer {_KEY}"]
    chunked = head_of("POST", _GENERATIONS, "127.0.0.1", [*headers, "Transfer-Encoding: chunked"])
    stated = head_of("POST", draw.choice((_GENERATIONS, _EDITS)), "127.0.0.1", [*headers, "Content-Length: 1000"])
    return draw.choice(
        (
            [b"GET", b" ", b"/", b"health"],
            [b"POST / HTTP/1.1\r\n", *[b"X: y\r\n"] * 6],
            [stated, *[b"x"] * 6],
            [chunked, *[b"5\r\nhello\r\n"] * 6],
            [chunked, b"ffffffffffffffff\r\n", b"x" * 1000],
            [chunked, b"-5\r\n"],
            [b""],
            [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
            [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
            [b"\r\n" * 5000],
            [stated + b"x" * 999],
            [head_of("GET", "/health", "127.0.0.1", [])] * 20,
            [b"GET /" + b"a" * 2**17],
        )
    )


def _left(server: _Served, draw: random.Random) -> bytes:
    """Clients that leave at every point of a request; none may stay in the queue."""
    body = b'{"prompt": "a", "n": 4, "seed": 1}'
    headers = [f"Authorization: Bearer {_KEY}", f"Content-Length: {len(body)}"]
    whole = head_of("POST", _GENERATIONS, "127.0.0.1", headers) + body
    answers = b""
    for _ in range(draw.choice((1, 10, 40))):
        with socket.create_connection(("127.0.0.1", server.port), timeout=_SECONDS) as client:
            client.sendall(whole[: draw.randrange(len(whole) + 1)] if draw.random() < 0.6 else whole)
            if draw.random() < 0.5:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset, not closed
    until = time.monotonic() + _SECONDS
    while server.service.batches.waiting and time.monotonic() < until:
        time.sleep(0.01)
    if server.service.batches.waiting:
        raise RuntimeError(f"{server.service.batches.waiting} pictures of clients that left wait")
    return answers


REQUEST_DOORS = {served: 14}
