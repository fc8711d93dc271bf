"""Python in processes of its own: devices can be pretended, which JAX counts once, when it starts, and processes can meet."""

import os
import socket
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
# On few cores the threads that stand for devices may meet their collectives in different orders; one after the other they do not.
_PATIENT = (
    "--xla_cpu_enable_concurrency_optimized_scheduler=false --xla_cpu_collective_call_warn_stuck_timeout_seconds=60 "
    "--xla_cpu_collective_call_terminate_timeout_seconds=120"
)


def start_on_devices(count: int, script: str, *arguments) -> subprocess.Popen:
    """Start ``script``, a path from the root of the project, where JAX sees ``count`` CPU devices."""
    flags = f"--xla_force_host_platform_device_count={count} {_PATIENT}"
    environment = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": str(REPO), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(REPO / script), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def on_devices(count: int, script: str, *arguments) -> subprocess.CompletedProcess:
    """The same, and wait until it has ended."""
    return ended(start_on_devices(count, script, *arguments))


def ended(process: subprocess.Popen) -> subprocess.CompletedProcess:
    """What a process has said, once it has ended."""
    with process:
        try:
            out, err = process.communicate(timeout=600)
        finally:
            process.kill()  # which does nothing to one that has ended
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def free_address() -> str:
    """host:port where nobody listens, for processes to meet at."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return f"localhost:{free.getsockname()[1]}"
