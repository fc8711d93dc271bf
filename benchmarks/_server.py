"""The program's servers in processes of their own."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

REPO = Path(__file__).resolve().parents[1]


@contextlib.contextmanager
def served(
    mode: str,
    *flags: str,
    stdout: int | IO[bytes],
    stderr: int | IO[bytes],
    environment: Mapping[str, str] | None = None,
    seconds: float = 120,
) -> Iterator[tuple[str, subprocess.Popen]]:
    """Run ``main.py --mode=MODE`` on a free port until the end of the block; give its address and process.

    stdout, stderr: as of subprocess.Popen; pipes are of text.  seconds: to load the model, on a busy machine.
    Raises RuntimeError if it ends before it listens, and TimeoutError if it does not listen in time.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(REPO / "main.py"), f"--mode={mode}", f"--port={port}", *flags]
    with subprocess.Popen(command, env=environment, stdout=stdout, stderr=stderr, text=True) as process:
        try:
            _wait_for(process, port, seconds)
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.terminate()  # does nothing to a process that has ended


def _wait_for(process: subprocess.Popen, port: int, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            said = process.stderr.read() if process.stderr else "see its log"
            raise RuntimeError(f"the server ended with status {process.returncode}: {said}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise TimeoutError(f"no server within {seconds} seconds")
