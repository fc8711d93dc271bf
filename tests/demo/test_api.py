"""The API on the page's server: a real one with a page beside it, and strangers at the door."""

import asyncio
import base64
import time
from io import BytesIO

import httpx
import numpy as np
import pytest
from PIL import Image

from benchmarks._visitor import Visitor
from tests.demo.browser import SECONDS, served
from tests.demo.conftest import slow
from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.demo.api import Beside, api_of_page
from vqdiffusion_jax.demo.guard import PageGuard
from vqdiffusion_jax.demo.limits import Limits
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.sampling import SamplingSettings
from vqdiffusion_jax.serving import limits as serving
from vqdiffusion_jax.serving.service import Service
from vqdiffusion_jax.web.access import Access
from vqdiffusion_jax.web.guard import Tally
from vqdiffusion_jax.web.rates import Allowance

GENERATIONS, PASSWORD = "/v1/images/generations", "eight or more"
DESCRIPTIONS = ("/v1/docs", "/v1/openapi.json")


@pytest.fixture(scope="module")
def pipeline():
    return VQDiffusionPipeline(random_network(VQDiffusionModel, slow(preset("tiny_text"))))


@pytest.fixture(scope="module")
def page(pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "model"
    pipeline.save_pretrained(folder)
    with served(f"--checkpoint={folder}", "--model_name=tiny") as page:
        yield page


def picture(data):
    return np.asarray(Image.open(BytesIO(base64.b64decode(data))))


def png(array):
    made = BytesIO()
    Image.fromarray(array).save(made, "PNG")
    return made.getvalue()


def drawn(pipeline, **fields):
    settings = SamplingSettings.of(num_inference_steps=3, batch_size=1, output_type="uint8", **fields)
    return np.concatenate([batch.images for batch in pipeline.stream(settings)])


def test_openais_client_draws_on_the_pages_server(page, pipeline):
    openai = pytest.importorskip("openai")
    extra = {"seed": 5, "num_inference_steps": 3}
    with openai.OpenAI(base_url=f"{page}/v1", api_key="none", timeout=SECONDS) as client:
        assert [one.id for one in client.models.list()] == ["tiny"]
        answer = client.images.generate(prompt="a red apple", n=3, response_format="url", extra_body=extra)
        expected = drawn(pipeline, prompt="a red apple", num_images_per_prompt=3, seed=5)
        for one, wanted in zip(answer.data, expected, strict=True):
            assert one.url.startswith(f"{page}/v1/files/")
            np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(httpx.get(one.url).content))), wanted)
        size = pipeline.config.codec.image_size
        start = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
        where = np.arange(size)[None].repeat(size, 0) >= size // 2
        mask = np.dstack([start, np.where(where, 0, 255).astype(np.uint8)])
        files = {"image": ("image.png", png(start)), "mask": ("mask.png", png(mask))}
        edited = client.images.edit(**files, prompt="a star", extra_body=extra)
        np.testing.assert_array_equal(picture(edited.data[0].b64_json)[~where], start[~where])
        with pytest.raises(openai.BadRequestError, match="guidance_scale is 31"):
            client.images.generate(prompt="a", extra_body={"guidance_scale": 31})


def test_the_server_tells_how_it_is_and_describes_itself(page):
    assert httpx.get(f"{page}/health").json() == {"status": "ok", "waiting": 0}
    assert "vqdiffusion_waiting_pictures" in httpx.get(f"{page}/metrics").text
    assert GENERATIONS in httpx.get(f"{page}/v1/openapi.json").json()["paths"]
    shown = httpx.get(f"{page}/v1/docs")
    assert "/v1/openapi.json" in shown.text and "frame-ancestors 'none'" in shown.headers["content-security-policy"]
    assert (
        httpx.get(f"{page}/v1").status_code == 404 and httpx.get(f"{page}/v1/x").json()["error"]["code"] == "not_found"
    )


@pytest.mark.parametrize("path", [GENERATIONS, "/v1/images/edits", "/v1/models", "/health", "/metrics", *DESCRIPTIONS])
@pytest.mark.parametrize(
    ("headers", "status"), [({"host": "evil.example"}, 421), ({"origin": "http://evil.example"}, 403)]
)
def test_strangers_pages_are_refused(page, path, headers, status):
    method = "POST" if "images" in path else "GET"
    answer = httpx.request(method, f"{page}{path}", headers=headers, json={} if method == "POST" else None)
    assert answer.status_code == status and "access-control-allow-origin" not in answer.headers


def test_runs_of_the_page_and_requests_are_drawn_in_turn(page):
    async def health():
        async with httpx.AsyncClient() as client:
            return (await client.get(f"{page}/health")).json()["waiting"]

    async def ask(ended):
        async with httpx.AsyncClient(timeout=SECONDS) as client:
            answer = await client.post(f"{page}{GENERATIONS}", json={"prompt": "a", "num_inference_steps": 3})
        ended.append("request")
        return answer.status_code

    async def visit():
        ended = []
        async with Visitor(page) as first, Visitor(page) as second:
            await first.fill(Prompt="a", Steps=100, Images=8)
            await second.fill(Prompt="b", Steps=4, Images=2)
            await first.press("Draw")
            await first.wait("status", "drawing")
            request = asyncio.create_task(ask(ended))
            while not await health():
                await asyncio.sleep(0.02)
            await second.press("Draw")
            await second.wait("status", "waiting, 2 before this one")
            assert not ended  # the request waits for the run, which came before
            await first.wait("status", "done")
            await second.wait("status", "done")
            ended.append("second run")
            assert await request == 200
        return ended

    assert asyncio.run(visit()) == ["request", "second run"]


def test_a_client_that_leaves_is_waited_for_no_longer(page):
    def left():
        line = next(
            line
            for line in httpx.get(f"{page}/metrics").text.splitlines()
            if line.startswith("vqdiffusion_clients_left_total")
        )
        return float(line.split()[-1])

    before = left()
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{page}{GENERATIONS}", json={"prompt": "a", "n": 8, "guidance_scale": 2.0}, timeout=0.1)
    until = time.monotonic() + SECONDS
    while left() == before and time.monotonic() < until:
        time.sleep(0.05)
    assert left() == before + 1


class Nothing:
    """The page, which answers that it was asked."""

    async def __call__(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"the page"})


@pytest.fixture
def browser(pipeline):
    """Return a function that makes a client of a server with a password, at an address."""

    def made(password=PASSWORD, address="10.0.0.9", **bounds):
        access, limits = Access("0.0.0.0", password), Limits(**bounds)
        service = Service(pipeline, serving.Limits(), name="tiny", origin={"checkpoint": "tiny"})
        tally = Tally(limits)
        api = api_of_page(
            service, access, limits, address=None, runs=Allowance(limits.runs_a_minute, 60.0), tally=tally
        )
        app = Beside(PageGuard(Nothing(), access=access, limits=limits, tally=tally), api=api)
        transport = httpx.ASGITransport(app, client=(address, 1))
        return httpx.AsyncClient(transport=transport, base_url="http://192.168.1.5:8080", timeout=SECONDS)

    return made


def test_beyond_the_loopback_the_pages_password_is_the_key(browser):
    async def visit(client):
        for path in ("/v1/models", "/metrics", *DESCRIPTIONS):
            refused = await client.get(path)
            assert refused.status_code == 401 and refused.json()["error"]["code"] == "invalid_api_key"
            assert (await client.get(path, headers={"authorization": f"Bearer {PASSWORD}"})).status_code == 200
        assert (await client.post(GENERATIONS, json={"prompt": "a"})).status_code == 401
        assert (await client.get("/health")).status_code == 200
        named = {"authorization": f"Bearer {PASSWORD}", "host": "evil.example"}
        assert (await client.get("/v1/models", headers=named)).status_code == 421
        await client.post("/login", data={"password": PASSWORD})  # the cookie of the page
        assert (await client.get("/v1/docs")).status_code == 200

    asyncio.run(visit(browser()))


def test_passwords_are_guessed_at_one_door_as_at_the_other(browser):
    async def guesses(client):
        wrong = {"authorization": "Bearer something else"}
        return [(await client.get(path, headers=wrong)).status_code for path in ("/", "/v1/models") * 2]

    assert asyncio.run(guesses(browser(logins_a_minute=2))) == [401, 401, 429, 429]


def test_visitors_of_an_open_page_ask_for_a_few_pictures_at_a_time(browser):
    async def ask(client, count):
        body = {"prompt": "a", "num_inference_steps": 1}
        return await asyncio.gather(*(client.post(GENERATIONS, json=body) for _ in range(count)))

    async def statuses(client):
        at_once = await ask(client, 3)
        after = await ask(client, 1) + await ask(client, 1)
        refused = next(answer for answer in at_once if answer.status_code == 429)
        assert refused.headers["retry-after"] == "1" and "2 of your requests" in refused.json()["error"]["message"]
        assert 1 <= int(after[-1].headers["retry-after"]) <= 60
        return sorted(answer.status_code for answer in at_once), [answer.status_code for answer in after]

    assert asyncio.run(statuses(browser(password=None, runs_a_minute=3))) == ([200, 200, 429], [200, 429])
    local = browser(password=None, address="127.0.0.1", runs_a_minute=3)
    assert [answer.status_code for answer in asyncio.run(ask(local, 5))] == [200] * 5
