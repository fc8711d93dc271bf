"""The API in a process of its own: how it ends, and what it writes into its log."""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import httpx

from benchmarks._server import served
from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel

REPO = Path(__file__).resolve().parents[2]
SECONDS = 240


def test_sigterm_ends_the_server_in_seconds_and_nobody_forges_its_log(tmp_path):
    VQDiffusionPipeline(random_network(VQDiffusionModel, preset("tiny_text"))).save_pretrained(tmp_path / "model")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with served("serve", f"--checkpoint={tmp_path / 'model'}", **pipes, seconds=SECONDS) as (address, server):
        until = time.monotonic() + SECONDS
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as strange:
            strange.sendall(b"GET /\x1b[31m\nERROR:root:forged HTTP/1.1\r\n\r\n")
            strange.recv(1000)
        httpx.get(f"{address}/a%0aERROR:root:forged")
        answers = []
        body = {"prompt": "a", "n": 8}

        def ask():
            with contextlib.suppress(httpx.TransportError):
                answers.append(httpx.post(f"{address}/v1/images/generations", json=body, timeout=SECONDS))

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        while any(client.is_alive() for client in clients) and time.monotonic() < until:
            if httpx.get(f"{address}/health").json()["waiting"] >= 8:
                break
            time.sleep(0.05)
        begun = time.monotonic()
        os.kill(server.pid, signal.SIGTERM)
        status = server.wait(SECONDS)
        seconds = time.monotonic() - begun
        for client in clients:
            client.join(SECONDS)
        out, log = server.communicate()
    assert status == 130 and seconds < 30  # 4 where the machine is idle
    assert out.startswith(f"the API is at {address}/v1") and len(out.splitlines()) == 1
    assert log.splitlines()[-1] == "interrupted" and "Traceback" not in log
    assert not [line for line in log.splitlines() if line.startswith("ERROR:root:forged")] and "\x1b" not in log
    assert all(answer.status_code in (200, 503) for answer in answers)
