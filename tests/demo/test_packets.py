import asyncio

import pytest

pytest.importorskip("nicegui")

from engineio import AsyncServer, async_server, async_socket
from engineio.exceptions import EngineIOError, UnknownPacketError
from engineio.packet import Packet
from nicegui import core

from vqdiffusion_jax.demo.packets import check_packets

CONNECT = {"type": "websocket.connect"}


@pytest.fixture
def engine(monkeypatch):
    """A server of sockets whose packets are checked; a list of what its handler was given."""
    server, given = AsyncServer(async_mode="asgi"), []

    async def message(sid, data):
        given.append(data)
        if data == "bad":
            raise KeyError(data)

    server.on("message", message)
    monkeypatch.setattr(core.sio, "eio", server)
    monkeypatch.setattr(async_socket, "AsyncSocket", async_socket.AsyncSocket)  # put back afterwards
    check_packets()
    return server, given


def socket_of(server):
    made = server.sockets["s"] = async_server.async_socket.AsyncSocket(server, "s")
    made.connected = True
    return made


class Browser:
    """A browser's side of a socket, which sends texts one after another and then waits."""

    def __init__(self, texts):
        self.texts, self.closed = list(texts), False

    async def wait(self):
        return self.texts.pop(0) if self.texts else None

    async def send(self, text):
        return None

    async def close(self):
        self.closed = True


class Body:
    def __init__(self, data):
        self.data = data

    async def read(self, size):
        return self.data[:size]


@pytest.mark.parametrize("text", ["", "x", "b!", "4" + "[" * 100_000, b"\xff", "\u0664", "7", "9", "0", "4good"])
def test_no_packet_leaves_an_error_or_an_open_socket(engine, text, caplog):
    server, _ = engine

    async def meet():
        socket = socket_of(server)
        socket.connected = False
        await asyncio.wait_for(socket._websocket_handler(browser := Browser([text])), 10)
        return socket.closed, browser.closed

    assert asyncio.run(meet()) == (True, True) and not caplog.records


@pytest.mark.parametrize("body", [b"\xff", b"x", b"4a\x1e" * 50, b"d=", b"\x1e", b"8"])
def test_a_body_of_no_packets_is_an_error_of_the_client(engine, body, caplog):
    server, _ = engine

    async def meet():
        socket = socket_of(server)
        await socket.handle_post_request({"CONTENT_LENGTH": str(len(body)), "wsgi.input": Body(body)})

    with pytest.raises(EngineIOError):
        asyncio.run(meet())
    assert not caplog.records


def test_a_message_that_cannot_be_read_closes_its_socket(engine, caplog):
    server, given = engine

    async def meet(data):
        socket = socket_of(server)
        await socket.receive(Packet(4, data))
        await asyncio.sleep(0.05)
        return socket.closed

    assert not asyncio.run(meet("good")) and asyncio.run(meet("bad"))
    assert given == ["good", "bad"] and not caplog.records


def test_a_packet_of_an_unknown_kind_is_none(engine):
    with pytest.raises(UnknownPacketError):
        asyncio.run(socket_of(engine[0]).receive(Packet(7)))


@pytest.mark.parametrize(
    ("messages", "asked"),
    [
        ([CONNECT], 1),
        ([{"type": "websocket.disconnect", "code": 1001}], 0),
        ([{"type": "http.request", "body": b""}], 1),
        ([{"type": "http.disconnect"}], 0),
    ],
)
def test_a_client_who_has_left_is_not_met(monkeypatch, engine, messages, asked):
    first, kind = messages[0], messages[0]["type"].partition(".")[0]
    seen = []

    async def answer(scope, receive, send):
        seen.append(await receive())

    monkeypatch.setattr(engine[0], "handle_request", answer)
    check_packets()
    sent = []

    async def meet():
        async def receive():
            return messages.pop(0)

        async def send(message):
            sent.append(message["type"])

        await engine[0].handle_request({"type": kind}, receive, send)

    asyncio.run(meet())
    assert seen == [first] * asked
    assert sent == (["http.response.start", "http.response.body"] if first["type"] == "http.disconnect" else [])
