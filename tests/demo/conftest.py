"""A browser, a page of a small text model, and visits to it."""

import contextlib
import os
from dataclasses import replace

import pytest

from tests.demo.browser import fill, launched, open_page, served
from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel

DESK = {"viewport": {"width": 1400, "height": 1400}}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def slow(model, timesteps=100):
    """Return the same model over more timesteps, so that there is time to stop a run."""
    parts = {name: replace(getattr(model, name), num_timesteps=timesteps) for name in ("denoiser", "schedule")}
    return replace(model, **parts)


@pytest.fixture(scope="module")
def browser():
    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(launched())
        except Exception as error:  # Playwright is not there, or finds no browser
            reason = f"no browser for the tests of the page ({(str(error).splitlines() or [''])[0]}); install Chromium"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
        yield found


@pytest.fixture(scope="module")
def pipeline():
    return VQDiffusionPipeline(random_network(VQDiffusionModel, slow(preset("tiny_text"))))


@pytest.fixture(scope="module")
def address(browser, pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "model"
    pipeline.save_pretrained(folder)
    with served(f"--checkpoint={folder}") as address:
        yield address


@pytest.fixture
def visit_at(browser):
    """Open the page at an address, each time as another visitor; no other host may be asked for anything."""
    addresses, asked, contexts = set(), [], []

    def visitor(address, device=DESK):
        addresses.add(address)
        contexts.append(browser.new_context(**device))
        contexts[-1].on("request", lambda request: asked.append(request.url))
        return open_page(contexts[-1], address)

    yield visitor
    for context in contexts:
        context.close()
    assert asked and all(url.startswith((*addresses, "data:", "blob:")) for url in asked)


@pytest.fixture
def visit(visit_at, address):
    """Open the page of the small text model."""

    def visitor(device=DESK):
        page = visit_at(address, device)
        fill(page, Prompt="a red apple")
        return page

    return visitor
