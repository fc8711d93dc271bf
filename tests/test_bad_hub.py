"""A hub, and a place of released files, that says nothing, next to nothing, or too much."""

import contextlib
import importlib
import threading
import time
from pathlib import Path

import huggingface_hub
import pytest

from tests import bad_servers
from tests.fake_hub import FakeHub, served, use
from vqdiffusion_jax import patience
from vqdiffusion_jax.errors import CheckpointError
from vqdiffusion_jax.hub import locate, upload
from vqdiffusion_jax.released import ReleasedFile, fetch

NAME = "acme/large"
FILE = "model.pth"
SIZE = 3 * 2**20
LONGEST = 20.0  # seconds, of a busy machine
HOWS = [bad_servers.silent, bad_servers.dripping, bad_servers.dripping_body]


@pytest.fixture
def ended():
    """Set when the test ends, and with it every answer."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def hub(tmp_path, monkeypatch, ended):
    """A hub of one large file, and half a second of patience with it."""
    monkeypatch.setenv(patience.VARIABLE, "0.5")
    hub = FakeHub()
    hub.repos[NAME] = {"main": {FILE: bytes(SIZE)}}
    with served(hub) as endpoint:
        use(monkeypatch, endpoint, tmp_path / "home")
        huggingface_hub.close_session()
        yield hub
        ended.set()
        huggingface_hub.close_session()


def answering(how, ended):
    """Return what answers as a server of that kind."""

    def answer(handler):
        def send(data):
            handler.wfile.write(data)
            handler.wfile.flush()

        with contextlib.suppress(OSError, ValueError):
            how(send, ended)

    return answer


def told(call, match):
    """Check that a call ends in time with one line that matches."""
    began = time.monotonic()
    with pytest.raises(CheckpointError, match=match) as refused:
        call()
    assert time.monotonic() - began < LONGEST and "\n" not in str(refused.value)


@pytest.mark.parametrize("how", HOWS)
def test_a_hub_that_does_not_say_what_it_has_is_given_up(hub, how, ended):
    hub.instead["/api/models/"] = answering(how, ended)
    told(lambda: locate(NAME), f"^hf://{NAME}: .*http://127.0.0.1.*(no answer in 0.5 seconds|cannot be reached)")


def test_a_model_in_the_cache_is_used_if_the_hub_says_nothing(hub, ended):
    place = locate(NAME).path
    hub.instead["/api/models/"] = answering(bad_servers.dripping, ended)
    with pytest.warns(UserWarning, match="the copy in the cache is used"):
        assert locate(NAME).path == place


@pytest.mark.parametrize("how", HOWS)
def test_a_download_that_stands_still_is_given_up(hub, how, ended):
    hub.instead["/store/"] = answering(how, ended)
    told(lambda: locate(NAME), f"^hf://{NAME}: http://127.0.0.1.*(no answer|bytes came) in 0.5 seconds")
    ended.set()
    hub.instead.clear()
    assert locate(NAME).path.stat().st_size == SIZE


def test_a_download_that_brings_too_much_ends(hub, ended, tmp_path, monkeypatch):
    monkeypatch.setenv(patience.VARIABLE, "10")  # a busy machine may be silent for long
    hub.instead["/store/"] = answering(bad_servers.endless, ended)
    told(lambda: locate(NAME), f"^hf://{NAME}: .*sends other files than it announced: more than the {SIZE} bytes")
    assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) < 100 * SIZE


def test_a_hub_at_fault_is_told(hub, ended):
    hub.instead["/api/models/"] = answering(bad_servers.failing, ended)
    told(lambda: locate(NAME), f"^hf://{NAME}: ")


@pytest.mark.parametrize(
    "said", [b'{"siblings": [', b"null", b"[]", b"5", b'{"siblings": 5}', b'{"siblings": [5]}', b"\xff"]
)
def test_an_answer_that_no_hub_gives_is_told(hub, ended, said):
    def lying(send, ended):
        send(bad_servers.OK + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(said) + said)

    hub.instead["/api/models/"] = answering(lying, ended)
    told(lambda: locate(NAME), f"^hf://{NAME}: ")


def test_an_upload_that_nobody_answers_is_given_up(hub, ended):
    hub.instead["/api/repos/create"] = answering(bad_servers.dripping, ended)
    told(
        lambda: upload(lambda folder: folder.mkdir(), NAME, token="hf_right", message="a model"),
        f"^hf://{NAME}: http://127.0.0.1.*no answer in 2.5 seconds",
    )


@pytest.mark.parametrize("how", [*HOWS, bad_servers.halving, bad_servers.failing])
def test_released_files_that_do_not_come_are_given_up(how, monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.import_module("vqdiffusion_jax.released.fetch"), "_PAUSE", 0.0)
    file = ReleasedFile("tiny.pth")
    with bad_servers.misbehaving(how) as base:
        told(lambda: fetch(file, tmp_path, base=base, timeout=0.3), f"^{base}/tiny.pth cannot be fetched")
    assert not Path(tmp_path, "tiny.pth").exists()


def test_a_released_file_without_end_is_as_long_as_it_was_announced(tmp_path):
    def answer(send, ended):
        send(bad_servers.OK + b"Content-Length: 5000\r\nConnection: close\r\n\r\n")
        while not ended.is_set():
            send(bytes(2**16))

    with bad_servers.misbehaving(answer) as base:
        assert fetch(ReleasedFile("tiny.pth"), tmp_path, base=base).stat().st_size == 5000
