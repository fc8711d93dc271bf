"""Commands of this Python that the scripts for emoji models run one after the other."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path


def run(name: str, arguments: list[str]) -> None:
    """Run a command of this Python, and say how long it took.  Exits if it fails."""
    began = time.perf_counter()
    if subprocess.run([sys.executable, *arguments]).returncode:
        raise SystemExit(f"{name} failed: {' '.join(arguments)}")
    _tell(name, began)


def train(mode: str, config: str, workdir: Path, *flags: str) -> None:
    """Train until the end.  Exits if training fails or is stopped; SIGTERM is handed on to it, so that it saves."""
    began = time.perf_counter()
    arguments = ["main.py", f"--mode={mode}", f"--config={config}", f"--workdir={workdir}", *flags]
    process = subprocess.Popen([sys.executable, *arguments])
    signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGTERM))
    while True:
        try:
            status = process.wait()
            break
        except KeyboardInterrupt:  # the terminal has told it too
            continue
    if status:
        raise SystemExit(f"training in {workdir} failed")
    if not (workdir / "model").exists():
        raise SystemExit(f"training in {workdir} was stopped; repeat the command to go on")
    _tell(workdir.name, began)


def _tell(name: str, began: float) -> None:
    print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
