"""Python in processes of its own: they see as many CPU devices as a test wants, and can meet.

JAX counts its devices once, when it starts, so that a test cannot change their number in its own process.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.compiling import QUICK_TO_COMPILE

REPO = Path(__file__).resolve().parents[1]
# On few cores the threads that stand for devices may meet their collectives in different orders, or late.
# Without the concurrency-optimised scheduler the order is the same for all, and five minutes are late enough.
_FLAGS = (
    f"{QUICK_TO_COMPILE} "
    "--xla_cpu_enable_concurrency_optimized_scheduler=false "
    "--xla_cpu_collective_call_warn_stuck_timeout_seconds=60 "
    "--xla_cpu_collective_call_terminate_timeout_seconds=300"
)


def start_on_devices(count: int, *arguments: object) -> subprocess.Popen:
    """Start ``python *arguments`` in the root of the project, where JAX sees ``count`` CPU devices."""
    flags = f"--xla_force_host_platform_device_count={count} {_FLAGS}"
    environment = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": str(REPO), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=REPO, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run_on_devices(count: int, *arguments: object) -> subprocess.CompletedProcess:
    """Run ``python *arguments`` to its end in the root of the project, where JAX sees ``count`` CPU devices."""
    return wait_for(start_on_devices(count, *arguments))


def wait_for(process: subprocess.Popen) -> subprocess.CompletedProcess:
    """Return the output of ``process`` after it has ended; kill it after ten minutes."""
    with process:
        try:
            out, err = process.communicate(timeout=600)
        finally:
            process.kill()  # does nothing to a process that has ended
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def free_address() -> str:
    """Return a host:port where nobody listens, for processes to meet at."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return f"localhost:{free.getsockname()[1]}"
