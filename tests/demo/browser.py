"""The page served, a headless browser, and what a visitor does in it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks import _server
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


class Served(str):
    """The address of a page.  server: its process."""

    server: subprocess.Popen

    def __new__(cls, address: str, server: subprocess.Popen):
        made = super().__new__(cls, address)
        made.server = server
        return made


@contextlib.contextmanager
def served(*flags: str) -> Iterator[Served]:
    """Serve the page from a process of its own until the end of the block; gives its address."""
    # NiceGUI behaves otherwise where it finds variables of pytest.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with _server.served("demo", *flags, environment=environment, **pipes) as (address, server):
        yield Served(address, server)


@contextlib.contextmanager
def launched():
    """Launch a headless Chromium, an installed one or else Playwright's own."""
    from playwright.sync_api import sync_playwright

    installed = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=installed, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def open_page(context, address: str):
    """Return the page in a new tab of a browser or of one of its contexts."""
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
    """Return the source of the first picture of a kind."""
    return page.locator(f"{which} img").first.get_attribute("src")


def draw(page, **fields) -> str:
    """Draw with these inputs, by label, and return the source of the first picture."""
    kept = page.locator(".kept").count()
    fill(page, **fields)
    press(page, "Draw")
    page.locator(".kept").nth(kept).wait_for()
    return source(page)


def upload(page, picture: np.ndarray):
    """Upload a picture, (height, width, 3) uint8, to start from, and wait until it is shown; that part must be open."""
    before = source(page, ".mask-editor")
    file = {"name": "picture.png", "mimeType": "image/png", "buffer": as_png(picture)}
    page.locator("input[type=file]").set_input_files(file)
    wait_for_another(page, ".mask-editor", before)


def wait_for_another(page, which: str, before: str):
    """Wait until the source of the first picture of a kind is not ``before``."""
    picture = page.locator(f"{which} img").first.element_handle()
    page.wait_for_function("([picture, before]) => picture.src != before", arg=[picture, before])


def paint(page, *points: tuple[float, float]):
    """Brush over the picture to start from, through points given as fractions of its width and height."""
    editor = page.locator(".mask-editor img")
    editor.scroll_into_view_if_needed()
    before, box = source(page, ".mask-editor"), editor.bounding_box()
    for i, (x, y) in enumerate(points):
        page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y, steps=3)
        if i == 0:
            page.mouse.down()
    page.mouse.up()
    wait_for_another(page, ".mask-editor", before)
