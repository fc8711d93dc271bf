"""Failures that pass are followed by another try, others are told at once."""

import errno
import http.server
import threading

import aiohttp
import pytest
from yarl import URL

from tests.storage.buckets import new_folder, put
from vqdiffusion_jax.errors import StorageError
from vqdiffusion_jax.storage import tries
from vqdiffusion_jax.storage.copies import here
from vqdiffusion_jax.storage.transfer import Objects

ASKED = aiohttp.RequestInfo(URL("http://host/x"), "GET", {}, URL("http://host/x"))  # pyright: ignore


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """The waits between tries, without waiting."""
    waited = []
    monkeypatch.setattr(tries.time, "sleep", waited.append)
    return waited


def failing(error, times):
    """Return a function that raises ``error`` so many times before it returns 7, and the list of its calls."""
    calls = []

    def call():
        calls.append(None)
        if len(calls) <= times:
            raise error
        return 7

    return call, calls


def translated(status):
    """Return an error as s3fs raises it: an OSError caused by botocore's."""
    error = OSError(errno.EIO, "busy")
    error.__cause__ = Exception()
    error.__cause__.response = {"Error": {"Code": "x"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return error


class HttpError(Exception):
    """As of gcsfs."""

    def __init__(self, code):
        super().__init__(str(code))
        self.code = code


PASSING = [
    ConnectionResetError(),
    TimeoutError(),
    aiohttp.ServerDisconnectedError(),
    aiohttp.ClientResponseError(ASKED, (), status=503),
    translated(503),
    HttpError("429"),
    HttpError(502),
]


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_two_failures_that_pass_are_not_seen(error, waits):
    call, calls = failing(error, 2)
    assert tries.tried(call) == 7 and len(calls) == 3 and waits == [0.5, 2.0]


@pytest.mark.parametrize("error", PASSING[:1], ids=repr)
def test_the_third_failure_is_told(error):
    call, calls = failing(error, 3)
    with pytest.raises(type(error)):
        tries.tried(call)
    assert len(calls) == 3


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(),
        PermissionError(),
        OSError(errno.ENOSPC, "full"),
        ValueError("a bad name"),
        aiohttp.InvalidURL("x"),
        aiohttp.ClientResponseError(ASKED, (), status=403),
        translated(400),
        HttpError(401),
    ],
    ids=repr,
)
def test_what_does_not_pass_is_told_at_once(error):
    call, calls = failing(error, 1)
    with pytest.raises(type(error)):
        tries.tried(call)
    assert len(calls) == 1


def test_a_library_that_has_tried_long_is_not_asked_again(monkeypatch):
    clock = iter([0.0, 21.0])
    monkeypatch.setattr(tries.time, "monotonic", lambda: next(clock))
    call, calls = failing(ConnectionResetError(), 1)
    with pytest.raises(ConnectionResetError):
        tries.tried(call)
    assert len(calls) == 1


@pytest.mark.parametrize("what", ["find", "cat_file", "pipe_file", "get_file", "put_file", "rm_file"])
def test_every_call_of_a_bucket_is_tried_again(what, monkeypatch, tmp_path):
    folder = new_folder("memory")
    put(f"{folder}/one", b"1")
    (tmp_path / "two").write_text("2")
    objects, left = Objects(folder), [None, None]
    real = getattr(objects._files, what)

    def fails_twice(*arguments, **options):
        if left:
            left.pop()
            raise ConnectionResetError
        return real(*arguments, **options)

    monkeypatch.setattr(objects._files, what, fails_twice)
    assert objects.sizes() == {"one": 1} and objects.read("one") == b"1"
    objects.fetch({"one": 1}, tmp_path / "here")
    objects.write("three", b"3")
    objects.put(["two"], tmp_path)
    objects.delete(["three"])
    assert objects.sizes() == {"one": 1, "two": 1} and (tmp_path / "here" / "one").read_text() == "1" and not left


def test_an_object_that_came_short_is_fetched_again(monkeypatch, tmp_path):
    folder = new_folder("memory")
    put(f"{folder}/one", b"123")
    objects, left = Objects(folder), [b"1", b"12"]
    real = objects._files.get_file

    def short(path, file, **options):
        if left:
            with open(file, "wb") as here:
                here.write(left.pop(0))
        else:
            real(path, file, **options)

    monkeypatch.setattr(objects._files, "get_file", short)
    objects.fetch({"one": 3}, tmp_path)
    assert (tmp_path / "one").read_bytes() == b"123"


class _Busy(http.server.BaseHTTPRequestHandler):
    """Answers the first requests with 503."""

    left = 0

    def do_GET(self):
        type(self).left -= 1
        status, body = (503, b"") if type(self).left >= 0 else (200, b"weights")
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(("busy", "served"), [(2, True), (3, False)])
def test_a_server_that_is_busy_twice_is_read_from(busy, served):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Busy) as server:
        _Busy.left = busy
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/weights-{busy}.bin"
        try:
            if served:
                assert here(address).read_bytes() == b"weights"
            else:
                with pytest.raises(StorageError, match=f"^{address} cannot be read: 503"):
                    here(address)
        finally:
            server.shutdown()
