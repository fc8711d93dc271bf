"""The page served, a headless browser, and what a visitor does in it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vqdiffusion_jax.demo.pictures import as_png

REPO = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Without these a browser asks its maker's hosts for updates, and as root it refuses to start.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SECONDS = 120  # to load a model, or to compile and draw, on a busy machine


@contextlib.contextmanager
def served(*flags: str) -> Iterator[str]:
    """The address of a page served by a process of its own, until the end of the block."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")
    }  # NiceGUI looks for them
    command = [sys.executable, str(REPO / "main.py"), "--mode=demo", f"--port={port}", *flags]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            _wait_for(server, port)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _wait_for(server: subprocess.Popen, port: int) -> None:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        if server.poll() is not None:
            raise RuntimeError(f"the page ended with status {server.returncode}: {server.stderr.read()}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise TimeoutError(f"no page within {SECONDS} seconds")


@contextlib.contextmanager
def launched():
    """A headless Chromium: one that is installed, or else Playwright's own."""
    from playwright.sync_api import sync_playwright

    installed = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=installed, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def open_page(context, address: str):
    """The page in a new tab of a browser or of one of its contexts."""
    page = context.new_page()
    page.set_default_timeout(SECONDS * 1000)
    page.goto(address)
    return page


def fill(page, **fields):
    for label, value in fields.items():
        page.get_by_label(label, exact=True).fill(str(value))


def choose(page, label: str, option: str):
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()


def press(page, name: str):
    page.get_by_role("button", name=name, exact=True).first.click()


def source(page, which: str = ".picture") -> str:
    """The first picture of a kind, as the page has it."""
    return page.locator(f"{which} img").first.get_attribute("src")


def draw(page, **fields) -> str:
    """Draw with these fields; returns the picture as the page has it."""
    kept = page.locator(".kept").count()
    fill(page, **fields)
    press(page, "Draw")
    page.locator(".kept").nth(kept).wait_for()
    return source(page)


def upload(page, picture: np.ndarray):
    """Give the page a picture, (height, width, 3) uint8, to start from, where that part of it is open, and wait until it is shown."""
    before = source(page, ".easel")
    file = {"name": "picture.png", "mimeType": "image/png", "buffer": as_png(picture)}
    page.locator("input[type=file]").set_input_files(file)
    wait_for_another(page, ".easel", before)


def wait_for_another(page, which: str, before: str):
    """Wait until the first picture of a kind is not what it was."""
    picture = page.locator(f"{which} img").first.element_handle()
    page.wait_for_function("([picture, before]) => picture.src != before", arg=[picture, before])


def paint(page, *points: tuple[float, float]):
    """Brush over the picture to start from, through points given as fractions of its width and height."""
    canvas = page.locator(".easel img")
    canvas.scroll_into_view_if_needed()
    before, box = source(page, ".easel"), canvas.bounding_box()
    for i, (x, y) in enumerate(points):
        page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y, steps=3)
        if i == 0:
            page.mouse.down()
    page.mouse.up()
    wait_for_another(page, ".easel", before)
