"""The API under load: many clients at once, every picture compared with the command line's, and throughput.

Two servers draw the same requests in turns: one draws a picture at a time, the other batches.  The pictures of each are
compared with those of ``--mode=sample`` with the same --batch_size, pixel for pixel.

python -m benchmarks.serving --out=docs/results/serving.md
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import csv
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from textwrap import fill

import httpx
import jax
import numpy as np
from PIL import Image

from benchmarks import _server
from vqdiffusion_jax.files import write_whole

REPO = Path(__file__).resolve().parents[1]
SUBJECTS = ("a red apple", "a rocket", "a yellow star", "a cat", "a green tree", "a blue car", "a house", "a fish")
STRATEGY = "posterior"  # whatever a model's own is, so that tables of several models and versions compare
SECONDS = 600  # to load a model, or for an answer, on a busy machine
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Request:
    """A picture to ask for, and the name of its file."""

    number: int
    prompt: str
    seed: int

    @property
    def name(self) -> str:
        return f"picture-{self.number}"


@dataclass
class Row:
    """A line of the table: the same requests by one server.  cpu: its processor seconds."""

    name: str
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    done: int = 0
    wrong: int = 0
    later: int = 0  # answers 429, after which a client came again
    waits: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Server:
    """A server in a process of its own, and the pictures that it should draw."""

    address: str
    process: subprocess.Popen
    expected: Path

    def cpu(self) -> float:
        """Return the processor seconds of the process so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200, help="of each part, in all rounds together")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8, help="--max_batch of the second server")
    parser.add_argument("--steps", type=int, default=10, help="network calls of a picture")
    parser.add_argument("--checkpoint", default="emoji")
    parser.add_argument("--out", type=Path, help="Markdown file for the table; the default prints it")
    options = parser.parse_args()
    asked = [Request(k, f"{SUBJECTS[k % len(SUBJECTS)]}", k) for k in range(options.requests)]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        servers = {}
        for size in (1, options.batch):
            expected = drawn_by_command_line(asked, size, options, Path(folder) / f"by-{size}")
            servers[size] = stack.enter_context(served(size, options, expected, Path(folder) / f"log-{size}"))
        alone = Row("one client, a picture at a time")
        single = Row(f"{options.clients} clients, a picture at a time")
        together = Row(f"{options.clients} clients, {options.batch} pictures together")
        each = -(-options.requests // options.rounds)
        for first in range(0, options.requests, each):
            part = asked[first : first + each]
            run(alone, servers[1], part, 1, options.steps)
            run(single, servers[1], part, options.clients, options.steps)
            run(together, servers[options.batch], part, options.clients, options.steps)
            print(f"{first + len(part)} of {options.requests} requests", file=sys.stderr, flush=True)
        counts = httpx.get(f"{servers[options.batch].address}/metrics").text
    text = page(options, [alone, single, together], batches(counts))
    if options.out:
        with write_whole(options.out) as place:
            place.write_text(text, encoding="utf-8")
    print(text)


def drawn_by_command_line(asked: list[Request], size: int, options: argparse.Namespace, out: Path) -> Path:
    """Draw the pictures by ``--mode=sample`` and return their folder."""
    out.mkdir()
    with (out / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["prompt", "seed", "file_name"])
        writer.writerows([one.prompt, one.seed, one.name] for one in asked)
    command = [sys.executable, str(REPO / "main.py"), f"--checkpoint={options.checkpoint}", f"--batch_size={size}"]
    command += [f"--strategy={STRATEGY}", f"--num_inference_steps={options.steps}"]
    command += [f"--prompts_file={out / 'list.csv'}", f"--out={out}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out


@contextlib.contextmanager
def served(size: int, options: argparse.Namespace, expected: Path, log: Path) -> Iterator[Server]:
    """Serve the API until the end of the block."""
    flags = f"--max_batch={size}", f"--checkpoint={options.checkpoint}"
    with log.open("wb") as file:
        with _server.served("serve", *flags, stdout=file, stderr=file, seconds=SECONDS) as (address, process):
            yield Server(address, process, expected)


def run(row: Row, server: Server, part: list[Request], clients: int, steps: int) -> None:
    """Send requests by so many clients at once, and add what came of it to a row."""
    begun, cpu = time.monotonic(), server.cpu()
    with ThreadPoolExecutor(clients) as pool:
        for right, later, waited in pool.map(lambda one: ask(server, one, steps), part):
            row.done += right is not None
            row.wrong += right is False
            row.later += later
            row.waits.append(waited)
    row.seconds.append(time.monotonic() - begun)
    row.cpu.append(server.cpu() - cpu)


def ask(server: Server, one: Request, steps: int) -> tuple[bool | None, int, float]:
    """Ask for a picture, again where the server says so.

    Returns whether it is the command line's (None if it was lost), how often the client came again, and the seconds.
    """
    body = {"prompt": one.prompt, "seed": one.seed, "strategy": STRATEGY, "num_inference_steps": steps}
    begun, later = time.monotonic(), 0
    while time.monotonic() < begun + SECONDS:
        answer = httpx.post(f"{server.address}/v1/images/generations", json=body, timeout=SECONDS)
        if answer.status_code != 429:
            break
        later += 1
        time.sleep(int(answer.headers["retry-after"]))
    waited = time.monotonic() - begun
    if answer.status_code != 200:
        return None, later, waited
    png = base64.b64decode(answer.json()["data"][0]["b64_json"])
    with Image.open(server.expected / f"{one.name}.png") as wanted:
        same = np.array_equal(np.asarray(Image.open(BytesIO(png))), np.asarray(wanted))
    return same, later, waited


def batches(counts: str) -> tuple[int, int]:
    """Return the numbers of pictures and of batches that a server tells of."""
    values = dict(line.rsplit(" ", 1) for line in counts.splitlines() if not line.startswith("#"))
    sizes = "vqdiffusion_batch_pictures_"
    return int(float(values[f"{sizes}sum"])), int(float(values[f"{sizes}count"]))


def page(options: argparse.Namespace, rows: list[Row], drawn: tuple[int, int]) -> str:
    """Return the table in Markdown."""
    load = os.getloadavg()[0]
    how = (
        f"`python -m benchmarks.serving --requests={options.requests} --clients={options.clients} "
        f"--rounds={options.rounds} --batch={options.batch} --steps={options.steps}`, with the model "
        f"{options.checkpoint}, on {os.cpu_count()} cores ({platform.machine()}, jax {jax.__version__}, "
        f"{jax.default_backend()}). The load was {load:.0f} at the end: above the number of cores the seconds are "
        "those of a busy machine, and only ratios within a round, and processor seconds, mean something."
    )
    what = (
        "The rows take turns in every round, with the same requests. A picture is right if every pixel is that of "
        "`--mode=sample` with the same `--batch_size`."
    )
    lines = [
        "# The API under load",
        "",
        fill(how, 140),
        "",
        fill(what, 140),
        "",
        "| | asked | answered | wrong | told to come again | seconds, median | longest | processor seconds a picture |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        lines.append(
            f"| {row.name} | {len(row.waits)} | {row.done} | {row.wrong} | {row.later} | "
            f"{statistics.median(row.waits):.2f} | {max(row.waits):.2f} | {sum(row.cpu) / max(row.done, 1):.3f} |"
        )
    base = rows[0]
    lines += ["", "Throughput over that of one client, a picture at a time:", ""]
    for row in rows[1:]:
        ratios = [one / other for one, other in zip(base.seconds, row.seconds, strict=True)]
        lines.append(
            f"- {row.name}: {sum(base.seconds) / sum(row.seconds):.2f} in all; by round "
            f"{', '.join(f'{ratio:.2f}' for ratio in ratios)}."
        )
    lines += [
        "",
        f"The batching server drew {drawn[0]} pictures in {drawn[1]} batches.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
