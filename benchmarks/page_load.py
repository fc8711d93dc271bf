"""The page under load: many visitors, many runs by one, slow connections, malformed events, pages closed half way.

A server of its own draws with a small random model; every picture is compared with the pipeline's.  The memory of the
server is recorded after each part of each round.

python -m benchmarks.page_load --rounds=5 --out=docs/results/page_load.md
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import jax
import numpy as np
from flax import nnx

from benchmarks import _server
from benchmarks._visitor import SECONDS, Visitor
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.demo.pictures import as_url
from vqdiffusion_jax.files import write_whole
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel

REPO = Path(__file__).resolve().parents[1]
PROMPT, STEPS = "a red apple", 4
SEEDS = 8  # different pictures
LOOK = 0.2  # seconds between looks at a page
ENTERING = 10  # visitors who open the page at the same moment
LIMITED = ("the queue is full", "runs a minute", "of your runs are not done")


@dataclass
class Server:
    """A page in a process of its own."""

    address: str
    process: subprocess.Popen
    log: Path

    def memory(self) -> float:
        """Return the memory of its own in MiB, in use or swapped out; pages of programs and libraries come and go."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return sum(int(status.partition(f"{name}:")[2].split()[0]) for name in ("RssAnon", "VmSwap")) / 1024


@dataclass
class Part:
    """A row of the table."""

    name: str
    done: int = 0
    wrong: int = 0
    seconds: list[float] = field(default_factory=list)
    note: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=200, help="at once, each of whom draws")
    parser.add_argument("--runs", type=int, default=100, help="by one visitor")
    parser.add_argument("--slow", type=int, default=200, help="connections that send a byte a second")
    parser.add_argument("--events", type=int, default=1000, help="malformed, by one visitor")
    parser.add_argument("--closed", type=int, default=10, help="pages closed half way through a run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=600.0, help="begin no round after so many")
    parser.add_argument("--seed", type=int, default=0, help="of the malformed events")
    parser.add_argument("--out", type=Path, help="Markdown file for the tables; the default prints them")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pipeline = small_pipeline()
        pipeline.save_pretrained(Path(folder) / "model")
        expected = [as_url(picture) for picture in pictures(pipeline)]
        with served(Path(folder) / "model", Path(folder) / "log") as server:
            rounds = asyncio.run(all_rounds(server, options, expected))
            begun = time.monotonic()
            server.process.send_signal(signal.SIGINT)
            server.process.wait(60)
            ended = time.monotonic() - begun
        log = server.log.read_text(errors="replace").splitlines()
    text = page(options, rounds, ended, log)
    if options.out:
        with write_whole(options.out) as place:
            place.write_text(text, encoding="utf-8")
    print(text)


def small_pipeline() -> VQDiffusionPipeline:
    """Return a tiny text model with random weights."""
    model = VQDiffusionModel(preset("tiny_text"), rngs=nnx.Rngs(0))
    return VQDiffusionPipeline(model)


def pictures(pipeline: VQDiffusionPipeline) -> list[np.ndarray]:
    """Return the picture of each seed, drawn as the page does."""
    return [
        pipeline(PROMPT, STEPS, seed=seed, output_type="uint8", callback=lambda *_: None).images[0]
        for seed in range(SEEDS)
    ]


@contextlib.contextmanager
def served(model: Path, log: Path) -> Iterator[Server]:
    """Serve the page of a model until the end of the block."""
    with log.open("wb") as file:
        with _server.served("demo", f"--checkpoint={model}", stdout=file, stderr=file) as (address, process):
            yield Server(address, process, log)


async def all_rounds(
    server: Server, options: argparse.Namespace, expected: list[str]
) -> list[list[tuple[Part, float]]]:
    """Run every part in every round; returns the parts and the memory after each."""
    rng, rounds = random.Random(options.seed), []
    async with Visitor(server.address) as visitor:
        await drawn(visitor, 0, expected)  # compiles
    until = time.monotonic() + 60 * options.minutes
    for number in range(1, options.rounds + 1):
        if time.monotonic() > until:
            break
        parts = (
            many_visitors(server, options.visitors, expected),
            many_runs(server, options.runs, expected),
            slow_connections(server, options.slow, expected),
            malformed_events(server, options.events, rng, expected),
            closed_pages(server, options.closed, expected),
            strangers(server),
        )
        rounds.append([])
        for coroutine in parts:
            part = await coroutine
            rounds[-1].append((part, server.memory()))
            told = f"{part.done} done, {part.wrong} wrong, {server.memory():.0f} MiB {part.note}"
            print(f"round {number}: {part.name}: {told}", file=sys.stderr, flush=True)
    return rounds


async def drawn(visitor: Visitor, seed: int, expected: list[str]) -> bool:
    """Draw a picture, again when the page says that it is busy; returns whether it is the right one."""
    await visitor.fill(Prompt=PROMPT, Steps=STEPS, Seed=seed % SEEDS)
    until = time.monotonic() + 10 * SECONDS
    while time.monotonic() < until:
        before = visitor.newest("kept")
        await visitor.press("Draw")
        while visitor.newest("kept") == before:
            if any(limit in visitor.text("mistake") for limit in LIMITED):
                visitor.forget("mistake")
                await asyncio.sleep(0.5)
                break
            if visitor.text("mistake") or time.monotonic() > until:
                return False
            await asyncio.sleep(LOOK)
        else:
            return visitor.find(classes="picture")["props"]["src"] == expected[seed % SEEDS]
    return False


async def many_visitors(server: Server, number: int, expected: list[str]) -> Part:
    part, door, inside = Part(f"{number} visitors at once, a run each"), asyncio.Semaphore(ENTERING), asyncio.Event()
    entered = 0

    async def visit(seed: int) -> None:
        nonlocal entered
        begun, right, visitor = time.monotonic(), False, Visitor(server.address)
        try:
            async with door:
                await visitor.__aenter__()
            entered += 1
            inside.set() if entered == number else None
            await asyncio.wait_for(inside.wait(), SECONDS)
            begun = time.monotonic()
            right = await drawn(visitor, seed, expected)
        except Exception as error:
            part.note = f"{type(error).__name__}: {error}"
        with contextlib.suppress(Exception):
            await visitor.__aexit__()
        count(part, right, time.monotonic() - begun)

    await asyncio.gather(*map(visit, range(number)))
    return part


async def many_runs(server: Server, number: int, expected: list[str]) -> Part:
    part = Part(f"{number} runs by one visitor")
    async with Visitor(server.address) as visitor:
        for seed in range(number):
            begun = time.monotonic()
            count(part, await drawn(visitor, seed, expected), time.monotonic() - begun)
    part.note = "one has to wait after 60 in a minute"
    return part


async def slow_connections(server: Server, number: int, expected: list[str]) -> Part:
    part = Part(f"a run beside {number} slow connections")
    where = urlsplit(server.address)
    head = f"GET / HTTP/1.1\r\nhost: {where.netloc}\r\n" + "x: " * 40
    body = f"POST / HTTP/1.1\r\nhost: {where.netloc}\r\ncontent-length: 900\r\n\r\n" + "x" * 60
    closed = 0

    async def slow(text: str) -> None:
        nonlocal closed
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        sent = text if text is body else ""
        with contextlib.suppress(OSError):
            writer.write(sent.encode())
            for character in text[len(sent) :] or "x" * 100:
                writer.write(character.encode())
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(), 1)
                    break
        closed += 1
        writer.close()

    tasks = [asyncio.create_task(slow((head, body)[number % 2])) for number in range(number)]
    async with Visitor(server.address) as visitor:
        begun = time.monotonic()
        count(part, await drawn(visitor, 1, expected), time.monotonic() - begun)
    await asyncio.gather(*tasks)
    part.note = f"{closed} connections were closed by the server"
    return part


async def malformed_events(server: Server, number: int, rng: random.Random, expected: list[str]) -> Part:
    part = Part(f"{number} malformed events, then a run")
    async with Visitor(server.address) as visitor:
        begun = time.monotonic()
        for _ in range(number):
            await visitor.send(malformed(visitor, rng))
        async with Visitor(server.address) as another:  # some events fill in the form of the first
            right = await drawn(another, 2, expected)
        count(part, right, time.monotonic() - begun)
    return part


def malformed(visitor: Visitor, rng: random.Random) -> Any:
    """Return an event that no browser would send."""
    odd = [None, True, -1, 10**15, 1.5, "", "x" * rng.choice((10, 1_000, 100_000)), [], [[[]]], {}, {"a": None}, "\0"]
    odd += ["[" * 5_000, "1e999", '{"a":', '"\\ud800"', "null"]
    element = rng.choice([one for one in visitor.elements if visitor.elements[one].get("events")])
    listener = rng.choice(visitor.elements[element]["events"])["listener_id"]
    event = {"id": element, "client_id": visitor.id, "listener_id": listener, "args": [None]}
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice(odd)
    if kind == 1:
        del event[rng.choice(["id", "client_id", "listener_id"])]
        return event
    if kind == 2:
        return event | {rng.choice(["id", "client_id", "listener_id", "args"]): rng.choice(odd)}
    return event | {"listener_id": "none", "args": [rng.choice([one for one in odd if isinstance(one, str)])]}


async def closed_pages(server: Server, number: int, expected: list[str]) -> Part:
    part = Part(f"{number} pages closed in a run, until the next one's begins")
    for _ in range(number):
        async with Visitor(server.address) as first, Visitor(server.address) as second:
            await first.fill(Prompt=PROMPT, Steps=10, Images=8)
            await first.press("Draw")
            await first.wait("status", "drawing")
            await second.fill(Prompt=PROMPT, Steps=STEPS, Seed=3)
            await second.press("Draw")
            await second.wait("status", "waiting")
            await first.socket.disconnect()
            begun = time.monotonic()
            await second.wait_not("status", "waiting")
            seconds = time.monotonic() - begun
            await second.wait("status", "done")
            await asyncio.sleep(0.2)
            count(part, second.find(classes="picture")["props"]["src"] == expected[3], seconds)
    return part


async def strangers(server: Server) -> Part:
    part = Part("requests of strangers, each refused")
    path = "/_nicegui_ws/socket.io/?EIO=4&transport=polling"
    asks = [
        ("GET", "/", {"host": "evil.example"}, 421),
        ("POST", "/", {"host": "evil.example"}, 421),
        ("GET", path, {"origin": "http://evil.example"}, 403),
        ("POST", path, {"origin": "null"}, 403),
        ("GET", "/openapi.json", {}, 404),
        ("GET", "/docs%0d%0aERROR:all%20is%20lost", {"user-agent": "a\x1b[2Jb"}, 404),
    ]
    async with httpx.AsyncClient(timeout=SECONDS) as browser:
        for method, where, headers, status in asks:
            begun = time.monotonic()
            answer = await browser.request(method, f"{server.address}{where}", headers=headers)
            shared = any(name.startswith("access-control") for name in answer.headers)
            count(part, answer.status_code == status and not shared, time.monotonic() - begun)
    return part


def count(part: Part, right: bool, seconds: float) -> None:
    part.done += 1
    part.wrong += not right
    part.seconds.append(seconds)


def page(options: argparse.Namespace, rounds: list[list[tuple[Part, float]]], ended: float, log: list[str]) -> str:
    """Return the tables as Markdown."""
    command = "python -m benchmarks.page_load " + " ".join(
        f"--{name}={getattr(options, name)}" for name in ("visitors", "runs", "slow", "events", "closed", "rounds")
    )
    tracebacks = sum(line.startswith("Traceback") for line in log)
    lines = [
        "# The page under load",
        "",
        f"Made by `{command}`, on {os.cpu_count()} cores ({platform.machine()}, jax {jax.__version__}, load"
        f" {os.getloadavg()[0]:.0f}), with a tiny random model; every picture is compared with the pipeline's.",
        "",
        "| round | what | done | wrong | seconds, median | longest | server's MiB after it | |",
        "|---:|---|---:|---:|---:|---:|---:|---|",
    ]
    for number, parts in enumerate(rounds, 1):
        for part, memory in parts:
            cells = (number, part.name, part.done, part.wrong, f"{statistics.median(part.seconds):.2f}")
            cells += (f"{max(part.seconds):.2f}", f"{memory:.0f}", part.note)
            lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += [
        "",
        f"Ctrl-C ended the server after {ended:.1f} s. Its log has {len(log)} lines and {tracebacks} tracebacks.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
