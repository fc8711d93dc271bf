"""Hostile requests to the page's own server, ``--mode=demo``: heads, bodies, uploads, messages of its socket.

The server is a process of its own, which all cases share; each looks afterwards whether it still answers others.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import socket
import struct
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import _hostile_mutations as mutate
from benchmarks import _server
from benchmarks._hostile_formats import of_picture
from benchmarks._hostile_requests import (
    form,
    head_of,
    others_are_answered,
    request,
    sent,
    slow,
    statuses_of,
    table,
)
from benchmarks._hostile_specimens import picture_bytes
from benchmarks._visitor import read_page
from vqdiffusion_jax.errors import UsageError

if TYPE_CHECKING:
    from benchmarks._hostile_case import Case

_SOCKET = "/_nicegui_ws/socket.io/"
_MOST_MEMORY = 2**30  # bytes that the server may take more than it did
_ANSWER_SECONDS = 0.2  # for what the server says to messages
_PATHS = (
    "/",
    "/?" + "a=b&" * 1000,
    "//",
    "/login",
    "/favicon.ico",
    "/_nicegui",
    "/_nicegui/",
    "/_nicegui/client/none/upload/1",
    "/_nicegui/../../etc/passwd",
    "/_nicegui/%2e%2e/%2e%2e/etc/passwd",
    "/_nicegui/3.0.0/resources/..%2f..%2fnicegui.py",
    "/_nicegui/3.0.0/esm/nicegui-echart/..%2f..%2f..",
    "/_nicegui/3.0.0/static/%00",
    "/_nicegui/auto/static/",
    f"{_SOCKET}?EIO=4&transport=polling",
    f"{_SOCKET}?EIO=3&transport=polling",
    f"{_SOCKET}?EIO=&transport=",
    f"{_SOCKET}?EIO=4&transport=polling&sid=none",
    f"{_SOCKET}?EIO=4&transport=polling&j=" + "9" * 5000,
    f"{_SOCKET}?EIO=4&transport=websocket",
    f"{_SOCKET}?EIO=4&EIO=5&transport=polling&transport=websocket&sid=%00",
    f"{_SOCKET}?" + "%ff" * 500,
    "/socket.io/?EIO=4&transport=polling",
    "/v1",
    "/v1/",
    "/v1/docs",
    "/openapi.json",
    "/redoc",
    "/%00",
    "/\u202e",
    "/" + "a/" * 2000,
)
_ODD: tuple[Any, ...] = (
    None, True, -1, 0, 10**15, 10**400, 1.5, "", "x" * 19_000, "x" * 100_000, [], [[[]]], {}, {"a": None}, "\0",
    "\x1b[31m", "\u202e", "[" * 5000, "1e999", '{"a":', '"\\ud800"', "null", "__class__", ["a"] * 5000,
)  # fmt: skip
_KINDS = ("event", "javascript_response", "ack", "handshake", "log", "connect", "disconnect", "update", "", "x" * 5000)
_PACKETS = (  # texts of Engine.IO and Socket.IO that are none
    "", "0", "1", "2", "2probe", "3", "4", "5", "6", "7", "9", "40{", "40/other,", "40" + "[" * 5000, "41", "42",
    "42[]", "42[1]", "42{}", "42null", '42["event"', "42" + "[" * 100_000, '42["event",' + "[" * 50_000,
    '4299999999999["ack",{}]',
    '43["x"]', '431["x"]', '44"x"', '451-["event",{"_placeholder":true,"num":0}]', '4599999999-["event"]',
    '45-1-["event",{"_placeholder":true,"num":-1}]', '452-["event",{"_placeholder":true,"num":9}]', "46[]", "49",
    '42/other,["event",{}]', '42["event",1e999,NaN]', '42["event","\\ud800"]', "4" + "2" * 9000, "b" + "A" * 50,
)  # fmt: skip


@dataclass
class _Page:
    """The server of the cases of this process, and of those forked from it."""

    port: int
    process: int
    log: Path
    resting: int  # bytes of memory at the start

    def memory(self) -> int:
        status = Path(f"/proc/{self.process}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024


_page: _Page | None = None


@contextlib.contextmanager
def page_served(whole: Path) -> Iterator[None]:
    """Serve the page of the specimens' model until the end of the block; processes forked in it share the server."""
    global _page
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        flag = f"--checkpoint={whole / 'model'}"
        with _server.served("demo", flag, environment=environment, stdout=log, stderr=log) as (address, process):
            _page = _Page(int(address.rpartition(":")[2]), process.pid, Path(log.name), 0)
            _page.resting = _page.memory()
            try:
                yield
            finally:
                _page = None


def page_requests(case: Case) -> None:
    """A request as bytes: to the page, its files, its socket, or the API beside it."""
    page, draw = _served(), case.draw
    log = page.log.stat().st_size
    kind = draw.choice((request, _to_page, _to_page, _to_page, table, form, _polled, slow))
    pieces = kind(draw)
    # A client that says no more lets the server end what it would wait for.
    answer = sent(page.port, pieces, between=0.05 if 1 < len(pieces) < 10 else 0.0, ends=True)
    _look(page, log, answer)


def page_uploads(case: Case) -> None:
    """A file sent to the place for pictures of a visit: a bomb, no picture, no form."""
    page, draw = _served(), case.draw
    log = page.log.stat().st_size
    client, elements = _visit(page)
    uploads = [one["props"]["url"] for one in elements.values() if "url" in one.get("props", {})]
    path = draw.choice([*uploads] * 6 + [f"/_nicegui/client/{client}/upload/{draw.choice((0, -1, 10**30, '..'))}"])
    data = of_picture(picture_bytes(0), draw, case.canary) if draw.random() < 0.7 else picture_bytes(0)
    data = mutate.of_bytes(data, draw) if draw.random() < 0.3 else data
    name = draw.choice(("a.png", "a.png", "../../a.png", "a" * 5000, "\x1b[31m", "", "a\r\nX: y", "\u202e.png"))
    about = f'name="{draw.choice(("file", "file", "", "x"))}"; filename="{name}"'
    parts = b"".join(
        b"--b\r\nContent-Disposition: form-data; " + about.encode("latin-1", "replace")
        + draw.choice((b"", b"\r\nContent-Type: image/png", b"\r\nContent-Type: \xff")) + b"\r\n\r\n" + data + b"\r\n"
        for _ in range(draw.choice((1, 1, 1, 0, 2, 5)))
    )  # fmt: skip
    body = parts + draw.choice((b"--b--\r\n", b"--b--\r\n", b"", b"--b"))
    kind = draw.choice(("multipart/form-data; boundary=b",) * 5 + ("multipart/form-data", "image/png", ""))
    length = len(body) + draw.choice((0, 0, 0, 0, -1, 7))
    headers = [f"Content-Type: {kind}", f"Content-Length: {length}", f"Origin: http://127.0.0.1:{page.port}"]
    _look(page, log, sent(page.port, [head_of("POST", path, f"127.0.0.1:{page.port}", headers) + body], ends=True))


def page_messages(case: Case) -> None:
    """Messages of a browser over the page's socket, and frames that no browser would send."""
    page, draw = _served(), case.draw
    log = page.log.stat().st_size
    client, elements = _visit(page)
    frames = b"".join(
        draw.choice((_event, _event, _event, _event, _packet, _broken_frame))(client, elements, draw)
        for _ in range(draw.choice((1, 1, 3, 20)))
    )
    _look(page, log, _over_socket(page, client, frames, draw))


def _served() -> _Page:
    assert _page is not None, "page_served serves it"
    return _page


def _visit(page: _Page) -> tuple[str, dict[int, dict[str, Any]]]:
    answer = sent(page.port, [head_of("GET", "/", f"127.0.0.1:{page.port}", [])])
    if statuses_of(answer) != [200]:
        raise UsageError(f"no visit: {answer[:100]!r}")
    return read_page(answer.partition(b"\r\n\r\n")[2].decode())


def _look(page: _Page, log: int, answer: bytes) -> None:
    """Raise RuntimeError if the server has suffered, and UsageError if it has refused."""
    others_are_answered(page.port)
    with page.log.open("rb") as file:
        file.seek(log)
        said = file.read().decode("utf-8", "backslashreplace")
    if bad := [line for line in said.split("\n") if _is_bad(line)]:
        raise RuntimeError(f"its log: {bad[:2]}")
    if (taken := page.memory() - page.resting) > _MOST_MEMORY:
        raise RuntimeError(f"it has taken {taken >> 20} MiB")
    statuses = statuses_of(answer)
    if 500 in statuses:
        raise RuntimeError(f"statuses {statuses}: {answer[:300]!r}")
    if not statuses or max(statuses) >= 400:
        raise UsageError(f"statuses {statuses}")


def _is_bad(line: str) -> bool:
    told = ("Traceback", "could not be answered", "never retrieved", "Error: ")
    return not line.isprintable() or len(line) > 1000 or any(word in line for word in told)


def _to_page(draw: random.Random) -> list[bytes]:
    headers = ["Content-Length: 5"] * draw.choice((0, 0, 1))
    origin = draw.choice(("", "", "Origin: null", "Origin: http://127.0.0.1", "Sec-Fetch-Site: cross-site"))
    headers += [origin] if origin else []
    host = draw.choice(("127.0.0.1",) * 8 + ("evil.example", "", "localhost:0", "[::1]:80", "a" * 5000))
    head = head_of(draw.choice(("GET", "GET", "GET", "HEAD", "POST", "PUT")), draw.choice(_PATHS), host, headers)
    return [(mutate.of_bytes(head, draw) if draw.random() < 0.2 else head) + b"hello"]


def _polled(draw: random.Random) -> list[bytes]:
    """The messages that a browser without sockets would send to the page's socket."""
    body = "\x1e".join(draw.choice(_PACKETS) for _ in range(draw.choice((1, 3, 200)))).encode("utf-8", "surrogatepass")
    headers = ["Content-Type: text/plain", f"Content-Length: {len(body)}"]
    path = f"{_SOCKET}?EIO=4&transport=polling" + draw.choice(("", "&sid=none", "&sid=" + "x" * 5000))
    return [head_of("POST", path, "127.0.0.1", headers) + body]


def _over_socket(page: _Page, client: str, frames: bytes, draw: random.Random) -> bytes:
    """Open the socket of a visit, send frames, and return all that comes within some time."""
    tab = draw.choice(("tab",) * 6 + ("", "x" * 5000, "%00"))
    query = f"?EIO=4&transport=websocket&client_id={client}&tab_id={tab}&document_id=d&next_message_id=0"
    query += draw.choice(("&implicit_handshake=true",) * 6 + ("", "&next_message_id=x"))
    headers = ["Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    headers += [f"Sec-WebSocket-Key: {base64.b64encode(draw.randbytes(16)).decode()}"]
    host = f"127.0.0.1:{page.port}"
    headers += [f"Origin: {draw.choice((f'http://{host}',) * 8 + ('http://evil.example', 'null'))}"]
    head = head_of("GET", _SOCKET + query, host, headers).replace(b"Connection: close", b"Connection: Upgrade")
    with socket.create_connection(("127.0.0.1", page.port), timeout=5) as server:
        server.sendall(head)
        answer = server.recv(2**16)
        if b" 101 " not in answer[:20]:
            return answer
        server.settimeout(_ANSWER_SECONDS)
        with contextlib.suppress(OSError):
            server.sendall(_frame(b"40") + frames)
            until = time.monotonic() + 2
            while time.monotonic() < until and (data := server.recv(2**16)):
                answer += data
    return answer


def _frame(data: bytes, kind: int = 0x81) -> bytes:
    """Return a masked frame of a WebSocket; the mask is of zeros."""
    size = len(data)
    if size < 126:
        told = bytes([0x80 | size])
    else:
        told = b"\xfe" + struct.pack(">H", size) if size < 2**16 else b"\xff" + struct.pack(">Q", size)
    return bytes([kind]) + told + bytes(4) + data


def _event(client: str, elements: dict[int, dict[str, Any]], draw: random.Random) -> bytes:
    """A message of the form that NiceGUI's have, with odd values."""
    number = draw.choice([one for one, element in elements.items() if element.get("events")])
    listener = draw.choice(elements[number]["events"])["listener_id"]
    message: Any = {"id": number, "client_id": client, "listener_id": listener}
    message["args"] = [json.dumps(draw.choice((*_ODD, mutate.of_tree({"a": [1, "x"]}, draw)))) for _ in range(2)]
    kind = draw.choice(("event",) * 5 + _KINDS)
    if kind != "event":
        message |= {"request_id": draw.choice(_ODD), "result": draw.choice(_ODD), "next_message_id": draw.choice(_ODD)}
        message |= {"tab_id": draw.choice(_ODD), "document_id": draw.choice(_ODD), "old_tab_id": draw.choice(_ODD)}
    if draw.random() < 0.4:
        message[draw.choice(list(message))] = draw.choice(_ODD)
    if draw.random() < 0.1:
        message = draw.choice(_ODD)
    text = "42" + draw.choice(("", "", "7", "9" * 30)) + json.dumps([kind, message, *[1] * draw.choice((0, 0, 0, 3))])
    return _frame(text.encode())


def _packet(client: str, elements: dict[int, dict[str, Any]], draw: random.Random) -> bytes:
    return _frame(draw.choice(_PACKETS).encode("utf-8", "surrogatepass"))


def _broken_frame(client: str, elements: dict[int, dict[str, Any]], draw: random.Random) -> bytes:
    data = draw.choice((b"", b"\xff\xfe", b"x" * 200, b"x" * (2**20 + 1), b"4\xed\xa0\x80", b"\x04" + b"x" * 50))
    kind = draw.choice((0x81, 0x01, 0x80, 0x82, 0x88, 0x89, 0x8A, 0x83, 0xC1, 0xF1, 0x0B))
    frame = _frame(data, kind)
    return draw.choice((
        frame, frame, frame,
        bytes([kind, len(data) & 0x7F]) + data[:125],  # without a mask
        b"\x81\xff\x7f" + b"\xff" * 7 + bytes(4) + data[:100],  # of 2^63 bytes
        b"\x81\xff\xff" + b"\xff" * 7 + bytes(4),
        frame * 50,
        mutate.of_bytes(_frame(b'42["event",{}]'), draw),
    ))  # fmt: skip


PAGE_DOORS = {page_requests: 10, page_uploads: 4, page_messages: 8}
