"""The page in a process of its own, and strangers at its door; no browser takes part."""

import asyncio
import signal
import time

import httpx
import pytest

from benchmarks._visitor import Visitor
from tests.demo.browser import served
from tests.demo.conftest import slow
from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.demo.guard import HEADERS
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.text.known_words import KnownWords


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "model"
    words = KnownWords(("red apple", "car"), frozenset({"a", "b"}), {"auto": "car"})
    VQDiffusionPipeline(random_network(VQDiffusionModel, slow(preset("tiny_text"))), known_words=words).save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="module")
def page(folder):
    with served(f"--checkpoint={folder}") as page:
        yield page


def answer(page, path="/", method="GET", **options):
    return httpx.request(method, f"{page}{path}", timeout=60, **options)


def test_the_page_is_protected(page):
    found = answer(page)
    assert found.status_code == 200 and {name: found.headers[name] for name in HEADERS} == HEADERS
    assert "server" not in found.headers


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/anything", "/_nicegui/x", "/a%0d%0aERROR:b"])
def test_other_paths_build_no_page(page, path):
    found = answer(page, path)
    assert found.status_code == 404 and len(found.content) < 100 and found.headers["x-frame-options"] == "DENY"


def test_a_name_that_points_here_draws_nothing(page):
    for path in ("/", "/_nicegui_ws/socket.io/?EIO=4&transport=polling"):
        assert answer(page, path, headers={"host": "evil.example"}).status_code == 421
    with pytest.raises(Exception, match="421|403"):
        asyncio.run(_enter(page, {"host": "evil.example"}))


def test_other_origins_are_refused_and_told_nothing(page):
    path, evil = "/_nicegui_ws/socket.io/?EIO=4&transport=polling", {"origin": "http://evil.example"}
    for method in ("GET", "POST", "OPTIONS"):
        found = answer(page, path, method, headers=evil)
        assert found.status_code == 403 and not [name for name in found.headers if name.startswith("access-control")]
    own = answer(page, path, headers={"origin": str(page)})
    assert own.status_code == 200 and "access-control-allow-credentials" not in own.headers
    with pytest.raises(Exception, match="403"):
        asyncio.run(_enter(page, evil))


async def _enter(page, headers):
    async with Visitor(page, headers):
        pass


def test_a_visitor_draws_and_bad_events_change_nothing(page):
    async def visit():
        async with Visitor(page) as visitor:
            event = {"id": visitor.find(label="Prompt")["id"], "client_id": visitor.id, "listener_id": "none"}
            bad = [None, 5, [], {}, "x" * 50_000, event, event | {"id": []}, event | {"args": 3}]
            for message in bad * 20:
                await visitor.send(message)
            await visitor.wait("mistake", "a message of this page cannot be used: ")
            await visitor.fill(Prompt={"a": ["list"]})
            await visitor.press("Draw")
            await visitor.wait("mistake", "Prompt is {")
            await visitor.fill(Prompt="a red apple", Steps=4)
            await visitor.press("Draw")
            await visitor.wait("status", "done")
            assert visitor.text("mistake") == "" and "call 4 of 4" in visitor.text("caption")

    asyncio.run(visit())


def test_unknown_words_are_told_and_known_names_can_be_clicked(page):
    async def visit():
        async with Visitor(page) as visitor:
            assert visitor.text("words") == ""
            await visitor.fill(Prompt="a blue auto")
            await visitor.wait("words", 'The model was not taught "blue", "auto" (did you mean car?)')
            await visitor.event(visitor.find(text="red apple"), "click", {})
            await visitor.wait_not("words", "taught")
            assert visitor.find(label="Prompt")["props"]["value"] == "red apple"

    asyncio.run(visit())


def test_a_closed_page_ends_its_run_and_the_next_is_drawn(page):
    async def visit():
        async with Visitor(page) as first, Visitor(page) as second:
            await first.fill(Prompt="a", Steps=100, Images=8)
            await second.fill(Prompt="b", Steps=2)
            await first.press("Draw")
            await first.wait("status", "drawing")
            await second.press("Draw")
            await first.socket.disconnect()
            closed = time.monotonic()
            await second.wait("status", "done")
            return time.monotonic() - closed

    assert asyncio.run(visit()) < 10  # far less than the run that was closed, and the time to reconnect


def test_a_tab_that_comes_back_goes_on_with_its_run_and_no_other_tab_sees_it(page):
    async def visit():
        async with Visitor(page, tab="1f0a") as first:
            await first.fill(Prompt="a", Steps=100, Images=8)
            await first.press("Draw")
            await first.wait("status", "drawing")
            async with Visitor(page, tab="1f0a") as again, Visitor(page) as other:
                await again.wait("status", "drawing")
                await again.press("Stop")
                await again.wait("status", "stopped")
                assert again.find(label="Prompt")["props"].get("value") == "a"
                assert other.text("status") == "" and not other.find(label="Prompt")["props"].get("value")

    asyncio.run(visit())


def test_ctrl_c_ends_the_server_in_seconds_and_the_log_holds_no_traceback(folder):
    with served(f"--checkpoint={folder}") as page:

        async def use():
            async with Visitor(page) as visitor:
                await visitor.fill(Prompt="a", Steps=100, Images=8)
                await visitor.press("Draw")
                await visitor.wait("status", "drawing")
                begun = time.monotonic()
                page.server.send_signal(signal.SIGINT)
                while page.server.poll() is None and time.monotonic() < begun + 60:
                    await asyncio.sleep(0.05)
                return time.monotonic() - begun

        assert asyncio.run(use()) < 6 and page.server.returncode == 130
        log = page.server.stderr.read()
        assert "Traceback" not in log and log.splitlines()[-1] == "interrupted"
