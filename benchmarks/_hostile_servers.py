"""Servers of buckets, of the hub and of released files that hang or lie: every wait for them ends, in time and bytes.

Each connection of a case is answered in the same way, drawn once.  Patience is short here, so that no call waits for
the 10 seconds that a case may.
"""

from __future__ import annotations

import contextlib
import os
import random
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from unittest import mock

import fsspec
import huggingface_hub
from huggingface_hub import constants

from benchmarks import _hostile_mutations as mutate
from vqdiffusion_jax.hub import locate
from vqdiffusion_jax.patience import VARIABLE
from vqdiffusion_jax.released import ReleasedFile, fetch
from vqdiffusion_jax.storage import tries
from vqdiffusion_jax.storage.copies import here
from vqdiffusion_jax.storage.transfer import Objects

if TYPE_CHECKING:
    from benchmarks._hostile_case import Case

_SECONDS = 0.5  # of patience
_MOST = 2**26  # bytes that a server sends to one connection, as it must not fill the machine's memory
_JSON = (
    b"{}", b"[]", b"null", b"5", b"[" * 50_000, b"\xff", b'{"items": 5}', b'{"items": [{}]}',
    b'{"items": [{"size": -1}]}',
    b'{"siblings": [{"rfilename": "../../x"}, {"rfilename": 5}], "sha": "x"}', b'{"siblings": null, "sha": null}',
    b'{"siblings": [{"rfilename": "config.json"}], "sha": "' + b"0" * 40 + b'"}', b'{"sha": "' + b"a" * 10**6 + b'"}',
    b'{"kind": "storage#objects", "items": [{"name": "run/a", "bucket": "bucket", "size": "9e99"}]}',
    b"<ListBucketResult><Contents><Key>run/a</Key><Size>x</Size></Contents></ListBucketResult>",
    b"<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;'>]><ListBucketResult>&b;</ListBucketResult>",
    b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>"
    b"<Contents><Key>run/a</Key><Size>5</Size><ETag>x</ETag><LastModified>x</LastModified></Contents></ListBucketResult>",
    b"<a>" * 20_000, b"",
)  # fmt: skip
_HEADERS = (
    b"Content-Length: 5000", b"Content-Length: -1", b"Content-Length: 99999999999999999999", b"Content-Length: x",
    b"Content-Length: 5\r\nContent-Length: 6", b"Transfer-Encoding: chunked", b"Content-Encoding: gzip",
    b"Content-Range: bytes 0-4/3", b"Content-Range: x", b"Location: /", b"Location: http://127.0.0.1:1/",
    b"Location: x:",
    b"Retry-After: 99999999", b"Set-Cookie: " + b"a" * 9000, b"X-Linked-Size: -5", b"X-Repo-Commit: ../..",
    b'ETag: ""',
    b"X: " + b"y" * 100_000, b"bad header", b": x", b"X-Linked-Etag: ../../x", b"Link: <http://127.0.0.1:1/>; rel=next",
)  # fmt: skip
_STATUSES = (
    b"200 OK", b"200 OK", b"200 OK", b"206 Partial Content", b"301 Moved", b"302 Found", b"307 x", b"308 x", b"401 x",
    b"403 x", b"404 x", b"416 x", b"429 x", b"500 x", b"503 Slow Down", b"999 x", b"0 x", b"x", b"",
)  # fmt: skip

released_fetch = sys.modules[fetch.__module__]
Answer = Callable[[Callable[[bytes], None], threading.Event], None]


def servers(case: Case) -> None:
    """A call to a server that hangs, drips, lies or never ends."""
    draw = case.draw
    ask = draw.choice((_bucket, _bucket, _list, _web, _hub, _hub, _released))
    with _served(_answer(draw)) as address, _impatient(case, address):
        ask(case, address)


def _bucket(case: Case, address: str) -> None:
    """An object is read, written or fetched."""
    objects = Objects(f"{case.draw.choice(('s3', 'gs'))}://bucket/run")
    kind = case.draw.randrange(4)
    if kind == 0:
        objects.read("a")
    elif kind == 1:
        objects.write("a", b"x" * case.draw.choice((0, 1, 2**20)))
    elif kind == 2:
        objects.check_writable()
    else:
        case.writes.append(case.place / "got" / "a")
        objects.fetch({"a": case.draw.choice((0, 5, 5000, None))}, case.place / "got")


def _list(case: Case, address: str) -> None:
    Objects(f"{case.draw.choice(('s3', 'gs'))}://bucket/run").sizes()


def _web(case: Case, address: str) -> None:
    here(f"{address}/{case.draw.randrange(2**60)}.{case.draw.choice(('png', 'pth', 'json'))}")


def _hub(case: Case, address: str) -> None:
    locate("owner/name", "model", cache_dir=case.place / "hub")


def _released(case: Case, address: str) -> None:
    case.writes.append(case.place / "a.pth")
    fetch(ReleasedFile("a.pth"), case.place, base=address)


@contextlib.contextmanager
def _impatient(case: Case, address: str) -> Iterator[None]:
    """Lead all clients to an address, with little patience and no pauses between tries."""
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    environment = {VARIABLE: str(_SECONDS), "AWS_ENDPOINT_URL": address, "STORAGE_EMULATOR_HOST": address}
    environment |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}
    for scheme in ("s3", "gs"):
        fsspec.get_filesystem_class(scheme).clear_instance_cache()
    huggingface_hub.close_session()
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, environment))
        stack.enter_context(mock.patch.object(constants, "ENDPOINT", address))
        stack.enter_context(mock.patch.object(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template))
        stack.enter_context(mock.patch.object(constants, "HF_HUB_OFFLINE", False))
        stack.enter_context(mock.patch.object(constants, "HF_HUB_DISABLE_XET", True))
        stack.enter_context(mock.patch.object(tries, "_WAITS", (0.01, 0.01)))
        stack.enter_context(mock.patch.object(released_fetch, "_PAUSE", 0.01))
        yield


@contextlib.contextmanager
def _served(answer: Answer) -> Iterator[str]:
    ended = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.request.settimeout(5)
                self.request.recv(2**16)
                answer(self.request.sendall, ended)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True
        request_queue_size = 64

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            ended.set()
            server.shutdown()


def _answer(draw: random.Random) -> Answer:
    """Return what answers each connection, the same way each time."""
    status, kind = draw.choice(_STATUSES), draw.randrange(9)
    headers = [*draw.sample(_HEADERS, draw.choice((0, 1, 1, 2))), *[b"Connection: close"] * draw.choice((0, 1))]
    body = draw.choice(_JSON)
    if draw.random() < 0.3:
        body = mutate.of_bytes(body or b"x", draw)
    if draw.random() < 0.6 and not any(header.startswith((b"Content-Length", b"Transfer")) for header in headers):
        headers.append(b"Content-Length: %d" % (len(body) + draw.choice((0, 0, 0, -1, 1, 10**12))))
    head = b"\r\n".join([b"HTTP/1.1 " + status, *headers, b"\r\n"])
    whole, cut = head + body, draw.randrange(len(head + body) + 1)
    more = draw.choice((bytes(2**16), b"X-A: b\r\n" * 2**13, b"5\r\nhello\r\n" * 2**12))
    told = draw.choice((b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", whole))

    def answer(send: Callable[[bytes], None], ended: threading.Event) -> None:
        if kind <= 3:
            send(whole)
        elif kind == 4:
            send(whole[:cut])
        elif kind == 5:  # and then nothing
            send(whole[:cut])
            ended.wait()
        elif kind == 6:  # slow headers, or a slow body
            send(told)
            while not ended.wait(0.05):
                send(b"x")
        elif kind == 7:  # endless headers, or an endless body
            send(told)
            for _ in range(_MOST >> 16):
                if ended.is_set():
                    return
                send(more)
        else:
            ended.wait()

    return answer


SERVER_DOORS = {servers: 8}
