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


def with_devices(count: int, more: str = "") -> str:
    """XLA_FLAGS of a process that sees ``count`` CPU devices."""
    return f"--xla_force_host_platform_device_count={count} {more}".strip()


def on_devices(count: int, script: str, *arguments) -> subprocess.CompletedProcess:
    """Run ``script``, a path from the root of the project, where JAX sees ``count`` CPU devices."""
    environment = os.environ | {"XLA_FLAGS": with_devices(count, _PATIENT), "PYTHONPATH": str(REPO), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(REPO / script), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


def free_address() -> str:
    """host:port where nobody listens, for processes to meet at."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return f"localhost:{free.getsockname()[1]}"
