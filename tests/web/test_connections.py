"""Connections of the server: a real socket, an application that answers at once."""

import asyncio
import contextlib

import uvicorn

from vqdiffusion_jax.demo.limits import Limits
from vqdiffusion_jax.web.connections import bounded_connections

REQUEST = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


async def application(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@contextlib.asynccontextmanager
async def served(**limits):
    """Serve within the block; gives a function that opens a connection."""
    config = uvicorn.Config(
        application,
        http=bounded_connections(Limits(**limits)),
        lifespan="off",
        log_config=None,
        port=0,
        h11_max_incomplete_event_size=2**14,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield lambda: asyncio.open_connection("127.0.0.1", port)
    finally:
        server.should_exit = True
        await task


async def answered(connection) -> bool:
    reader, writer = connection
    writer.write(REQUEST)
    return b"200" in await asyncio.wait_for(reader.read(100), 10)


def test_slow_connections_are_closed_and_hold_no_other():
    async def visit():
        async with served(header_seconds=2) as connect:  # time enough for one that is served on a busy machine
            silent = [await connect() for _ in range(50)]
            slow = [await connect() for _ in range(20)]
            for _, writer in slow:
                writer.write(b"GET / HTTP/1.1\r\n")
            assert await answered(await connect())
            for reader, _ in silent + slow:
                assert await asyncio.wait_for(reader.read(100), 10) == b""

    asyncio.run(visit())


def test_a_second_request_has_to_come_in_time_too():
    async def visit():
        async with served(header_seconds=0.3) as connect:
            reader, writer = connection = await connect()
            assert await answered(connection)
            assert await answered(connection)  # the connection is kept
            writer.write(b"GET /")
            assert await asyncio.wait_for(reader.read(100), 10) == b""

    asyncio.run(visit())


def test_a_request_without_an_end_is_refused():
    async def visit():
        async with served() as connect:
            reader, writer = await connect()
            writer.write(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000)
            assert b"400" in await asyncio.wait_for(reader.read(100), 10)

    asyncio.run(visit())
