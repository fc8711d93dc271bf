"""A training run in processes of its own, watched from outside: where it is, what it said, how it ended."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
PATIENCE = 900.0  # seconds until a run counts as hung
PHASES = ("start-up", "compilation", "steps", "save", "validation", "export", "resuming")


class Run:
    """One start of a training run; its processes form a group, as those of ``timeout`` and of a batch system do."""

    def __init__(
        self,
        workdir: Path,
        command: list[str],
        environment: Mapping[str, str],
        *,
        steps: int,
        every: int,
        processes: int = 1,
    ):
        self.workdir, self._steps, self._eval_every = workdir, steps, every
        self.log = workdir.with_name(f"{workdir.name}-{time.time_ns()}.log")
        self._seen: dict[Path, tuple[Any, Any]] = {}
        self._journal_before = self._journal_time()
        self.first = self.step()
        self.began = time.perf_counter()
        joined: list[list[str]] = [[]]
        if processes > 1:
            with socket.socket() as free:
                free.bind(("localhost", 0))
                address = f"--coordinator=localhost:{free.getsockname()[1]}"
            joined = [[address, f"--num_processes={processes}", f"--process_id={index}"] for index in range(processes)]
        self.processes: list[subprocess.Popen] = []
        with open(self.log, "a") as log:
            for more in joined:
                started = subprocess.Popen(
                    [sys.executable, str(REPO / "main.py"), *command, f"--workdir={workdir}", *more],
                    cwd=REPO,
                    env=environment,
                    stdout=log,
                    stderr=log,
                    process_group=self.processes[0].pid if self.processes else 0,
                )
                self.processes.append(started)
        self.process, self.hung = self.processes[0], False

    # What it shows.

    def said(self) -> str:
        return self._unless_same(self.log, lambda: self.log.read_text(errors="replace"))

    def errors(self) -> list[str]:
        return [line for line in self.said().splitlines() if line.startswith("error: ")]

    def noise(self) -> list[str]:
        """Return what a user should never see."""
        bad = ("Traceback", "leaked", "resource_tracker", "Exception ignored", "terminated unexpectedly")
        found = [line for line in self.said().splitlines() if any(word in line for word in bad)]
        return [*found, f"it did not end within {PATIENCE} s"] if self.hung else found

    def records(self) -> list[dict[str, Any]]:
        return self._unless_same(self.workdir / "metrics.jsonl", lambda: journal(self.workdir))

    def _unless_same(self, file: Path, read: Callable[[], Any]) -> Any:
        """Return what ``read`` makes of a file, read again only when it has changed, as a run is looked at often."""
        try:
            about = os.stat(file)
            state = about.st_mtime_ns, about.st_size, about.st_ino
        except OSError:
            state = None
        if file not in self._seen or self._seen[file][0] != state:
            self._seen[file] = state, read()
        return self._seen[file][1]

    def step(self) -> int:
        """Return the last step in the journal."""
        return max((record["step"] for record in self.records()), default=0)

    def _journal_time(self) -> int:
        try:
            return os.stat(self.workdir / "metrics.jsonl").st_mtime_ns
        except OSError:
            return 0

    def phase(self) -> str:
        """Return the phase that the run shows to be in."""
        if list(self.workdir.glob(".model.*")):
            return "export"
        checkpoints = self.workdir / "checkpoints"
        with contextlib.suppress(OSError):
            if any(not name.isdigit() and not name.startswith("unreadable-") for name in os.listdir(checkpoints)):
                return "save"
        resumed = "resuming from checkpoint" in self.said()
        if not resumed and self._journal_time() == self._journal_before:
            return "start-up"
        step = self.step()
        said = re.findall(r"^step (\d+)/", self.said(), re.MULTILINE)
        if not said:
            return "resuming" if resumed else "compilation"
        if step >= self._steps:
            return "export"
        last = [record for record in self.records() if record["step"] == step]
        if step % self._eval_every == 0 and not any("validation_bits_per_token" in record for record in last):
            return "validation"
        return "steps"

    def workers(self) -> list[int]:
        """Return the processes that prepare batches."""
        return [
            number
            for number in self.group()
            if number != self.process.pid and b"spawn_main" in _read(f"/proc/{number}/cmdline")
        ]

    def group(self) -> list[int]:
        """Return the living processes of the run's group, as Linux shows them."""
        found = []
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            fields = _read(f"/proc/{name}/stat").rpartition(b")")[2].split()
            if len(fields) > 2 and fields[0] not in (b"Z", b"X") and int(fields[2]) == self.process.pid:
                found.append(int(name))
        return found

    # What is done to it.

    def until(self, reached: Callable[[], bool]) -> bool:
        """Wait until the condition holds; return False if the run ended before."""
        while not reached():
            if self.process.poll() is not None:
                return False
            if time.perf_counter() - self.began > PATIENCE:
                self.clean_up()
                raise TimeoutError(self.said())
            time.sleep(0.002)
        return self.process.poll() is None

    def send(self, number: int, index: int = 0) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.processes[index].send_signal(number)

    def send_to_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def end(self) -> int:
        """Wait for the run and return its exit status, of several processes the first that is not 0.

        A run that does not end is killed, and ``noise`` says so.  What its group still holds 30 seconds later counts as
        left.
        """
        try:
            try:
                statuses = [process.wait(timeout=PATIENCE) for process in self.processes]
            except subprocess.TimeoutExpired:
                self.hung = True
                self.clean_up()
                statuses = [process.wait() for process in self.processes]
            status = next((status for status in statuses if status), 0)
            until = time.monotonic() + 30
            while (left := self.group()) and time.monotonic() < until:
                time.sleep(0.05)
            if left:
                raise AssertionError(f"processes {left} outlive the run: {self.said()[-2000:]}")
            return status
        finally:
            self.clean_up()

    def clean_up(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)


def journal(workdir: Path) -> list[dict[str, Any]]:
    """Return the whole records of metrics.jsonl."""
    found = []
    with contextlib.suppress(OSError):
        for line in (workdir / "metrics.jsonl").read_text().splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
    return found


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:  # it ended meanwhile
        return b""
