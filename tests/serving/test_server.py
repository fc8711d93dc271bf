"""The API on a socket, with a small random model: by plain requests, and by OpenAI's own client."""

import base64
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.recipe import KEYWORD, settings_of_recipe
from vqdiffusion_jax.sampling import SamplingSettings
from vqdiffusion_jax.serving.guard import HEADERS
from vqdiffusion_jax.serving.limits import Limits
from vqdiffusion_jax.serving.server import server_of
from vqdiffusion_jax.serving.service import Service
from vqdiffusion_jax.web.access import Access

GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
TOGETHER, STEPS, SECONDS = 4, 3, 120
KEY = "a key of sixteen characters"


class Served:
    """A server in a thread of this process."""

    def __init__(self, pipeline, access, **limits):
        self.service = Service(pipeline, Limits(**limits), name="tiny", origin={"checkpoint": "tiny"})
        self.server = server_of(self.service, access, port=0)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        until = time.monotonic() + SECONDS
        while not self.server.started and time.monotonic() < until:
            time.sleep(0.01)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"

    def ask(self, path, method="GET", **options):
        return httpx.request(method, f"{self.address}{path}", timeout=SECONDS, **options)

    def draw(self, **fields):
        fields = {"prompt": "a red apple", "num_inference_steps": STEPS} | fields
        return self.ask(GENERATIONS, "POST", json=fields)

    def end(self):
        self.server.should_exit = True
        self.thread.join(SECONDS)


@pytest.fixture(scope="module")
def pipeline():
    return VQDiffusionPipeline(random_network(VQDiffusionModel, preset("tiny_text")))


@pytest.fixture(scope="module")
def api(pipeline):
    served = Served(pipeline, Access("127.0.0.1"), max_batch=TOGETHER, max_wait=0.05)
    yield served
    served.end()


@pytest.fixture(scope="module")
def client(api):
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{api.address}/v1", api_key="none", timeout=SECONDS) as client:
        yield client


def picture(data):
    return np.asarray(Image.open(BytesIO(base64.b64decode(data))))


def drawn(pipeline, **fields):
    """Return pictures as the command line draws them into files."""
    fields = {"num_inference_steps": STEPS, "batch_size": TOGETHER, "output_type": "uint8"} | fields
    return np.concatenate([batch.images for batch in pipeline.stream(SamplingSettings.of(**fields))])


def png(array):
    made = BytesIO()
    Image.fromarray(array).save(made, "PNG")
    return made.getvalue()


def test_openais_client_draws_what_the_command_line_draws(client, pipeline):
    extra = {"seed": 5, "num_inference_steps": STEPS}
    answer = client.images.generate(prompt="a red apple", n=2, model="tiny", extra_body=extra)
    expected = drawn(pipeline, prompt="a red apple", num_images_per_prompt=2, seed=5)
    for one, wanted in zip(answer.data, expected, strict=True):
        np.testing.assert_array_equal(picture(one.b64_json), wanted)
    assert [one.recipe["first_image"] for one in answer.data] == [0, 1] and answer.data[0].seed == 5
    again = list(pipeline.stream(settings_of_recipe(answer.data[1].recipe, Path()).changed(output_type="uint8")))
    np.testing.assert_array_equal(again[0].images[0], expected[1])
    assert KEYWORD in Image.open(BytesIO(base64.b64decode(answer.data[1].b64_json))).info


def test_openais_client_paints_what_the_mask_leaves_transparent(client, pipeline):
    size = pipeline.config.codec.image_size
    start = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    where = np.arange(size)[None].repeat(size, 0) >= size // 2
    mask = np.dstack([start, np.where(where, 0, 255).astype(np.uint8)])
    extra = {"seed": 1, "num_inference_steps": STEPS}
    answer = client.images.edit(
        image=("image.png", png(start)), mask=("mask.png", png(mask)), prompt="a star", n=2, extra_body=extra
    )
    expected = drawn(pipeline, prompt="a star", seed=1, num_images_per_prompt=2, image=start, mask_image=where)
    for one, wanted in zip(answer.data, expected, strict=True):
        np.testing.assert_array_equal(picture(one.b64_json), wanted)
        np.testing.assert_array_equal(picture(one.b64_json)[~where], start[~where])
    again = client.images.edit(
        image=[("image.png", png(mask))], prompt="a star", response_format="url", extra_body=extra
    )
    found = httpx.get(again.data[0].url)
    assert found.headers["content-type"] == "image/png" and found.status_code == 200
    noised = client.images.edit(image=("a.png", png(start)), prompt="a star", extra_body={"seed": 1, "strength": 0.5})
    expected = drawn(pipeline, prompt="a star", seed=1, image=start, strength=0.5, num_inference_steps=None)
    np.testing.assert_array_equal(picture(noised.data[0].b64_json), expected[0])


def test_settings_that_change_nothing_are_told_beside_the_pictures(client, pipeline):
    size = pipeline.config.codec.image_size
    start = np.zeros((size, 2 * size, 3), np.uint8)
    margin = np.full((size, 2 * size, 4), 255, np.uint8)
    margin[:, :2, 3] = 0  # outside the central square
    extra = {"seed": 1, "num_inference_steps": STEPS, "guidance_scale": 1, "guidance_plausibility": 0.5}
    answer = client.images.edit(image=("a.png", png(start)), mask=("b.png", png(margin)), prompt="a", extra_body=extra)
    assert answer.warnings == [
        "guidance_plausibility changes nothing, as guidance_scale is 1, which is no guidance; give more than 1",
        "mask paints nothing, so that image comes back as it is; painted is what is transparent, in the central square",
    ]
    plain = client.images.generate(prompt="a", extra_body={"num_inference_steps": STEPS})
    assert getattr(plain, "warnings", None) is None


def test_openais_client_lists_the_model_and_is_told_what_is_wrong(client):
    openai = pytest.importorskip("openai")
    assert [one.id for one in client.models.list()] == ["tiny"] and client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(openai.BadRequestError) as refusal:
        client.images.generate(prompt="a", size="1024x1024")
    assert (refusal.value.param, refusal.value.code, refusal.value.type) == (
        "size",
        "invalid_value",
        "invalid_request_error",
    )
    with pytest.raises(openai.NotFoundError) as refusal:
        client.images.generate(prompt="a", model="dall-e-3")
    assert refusal.value.code == "model_not_found"


def test_pictures_of_many_clients_are_their_own(api, pipeline):
    prompts = [("a", 1), ("b", 2), ("a", 3), ("c", 4), ("b", 5), ("a", 6), ("d", 7), ("e", 8)]
    expected = {(prompt, seed): drawn(pipeline, prompt=prompt, seed=seed)[0] for prompt, seed in prompts}
    before = api.service.counts._pictures._value.get()

    def ask(which):
        return which, api.draw(prompt=which[0], seed=which[1]).json()["data"][0]["b64_json"]

    with ThreadPoolExecutor(8) as pool:
        for which, data in pool.map(ask, prompts):
            np.testing.assert_array_equal(picture(data), expected[which])
    assert api.service.counts._pictures._value.get() - before == len(prompts)


def test_a_request_may_name_its_batch_and_without_a_seed_each_is_another(api, pipeline):
    one = api.draw(seed=3, batch_size=1).json()["data"][0]
    np.testing.assert_array_equal(
        picture(one["b64_json"]), drawn(pipeline, prompt="a red apple", seed=3, batch_size=1)[0]
    )
    seeds = [api.draw().json()["data"][0]["seed"] for _ in range(2)]
    assert seeds[0] != seeds[1]


@pytest.mark.parametrize(
    ("fields", "status", "param", "told"),
    [
        ({"prompt": None}, 400, "prompt", "prompt is missing; say what to draw"),
        ({"class_labels": 3}, 400, "class_labels", "this model is conditioned on text"),
        ({"num_inference_steps": 10_000}, 400, "num_inference_steps", "num_inference_steps is 10000"),
        ({"tokens_per_call": 4}, 400, "tokens_per_call", "tokens_per_call goes with strategy="),
        ({"n": 2, "seed": [1, 2, 3]}, 400, "seed", "seed holds 3 seeds for 2 pictures"),
    ],
)
def test_settings_that_do_not_fit_the_model(api, fields, status, param, told):
    answer = api.draw(**fields)
    error = answer.json()["error"]
    assert answer.status_code == status and error["param"] == param and told in error["message"]


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/nothing", {}, 404),
        ("GET", "/v1/models/other", {}, 404),
        ("GET", "/v1/files/guess.png", {}, 404),
        ("GET", GENERATIONS, {}, 405),
        ("DELETE", "/v1/models", {}, 405),
        ("POST", GENERATIONS, {"content": b"[1"}, 400),
        ("POST", GENERATIONS, {"content": b"x" * (2**20 + 1)}, 413),
        ("POST", GENERATIONS, {"content": iter([b"{}"])}, 413),
        ("POST", GENERATIONS, {"json": {}, "headers": {"host": "evil.example"}}, 421),
        ("POST", GENERATIONS, {"json": {}, "headers": {"origin": "http://evil.example"}}, 403),
        ("POST", EDITS, {"json": {}}, 400),
        ("POST", EDITS, {"content": b"--", "headers": {"content-type": "multipart/form-data"}}, 400),
        ("POST", EDITS, {"files": {"image": b"text"}}, 400),
        ("POST", EDITS, {"files": {"picture": b"text"}}, 400),
        ("POST", EDITS, {"files": {"a": b""}, "data": {"image": "text"}}, 400),
    ],
)
def test_every_refusal_has_openais_shape(api, method, path, options, status):
    answer = api.ask(path, method, **options)
    assert answer.status_code == status
    assert list(answer.json()["error"]) == ["message", "type", "param", "code"]
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS and "server" not in answer.headers


def test_the_server_tells_how_it_is(api):
    assert api.ask("/health").json() == {"status": "ok", "waiting": 0}
    counts = api.ask("/metrics").text
    assert 'vqdiffusion_requests_total{path="/health",status="200"}' in counts
    assert "vqdiffusion_batch_pictures_bucket" in counts and "vqdiffusion_waiting_pictures 0.0" in counts
    described = api.ask("/openapi.json").json()["paths"][GENERATIONS]["post"]["requestBody"]["content"]
    fields = described["application/json"]["schema"]["properties"]
    assert fields["guidance_scale"]["maximum"] == 30.0 and "purity" in fields["strategy"]["enum"]
    assert "swagger" in api.ask("/docs").text


def test_beyond_the_loopback_the_key_is_asked_for(pipeline):
    served = Served(pipeline, Access("127.0.0.1", KEY))
    try:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": KEY}):
            refused = served.ask("/v1/models", headers=headers)
            assert refused.status_code == 401 and refused.json()["error"]["code"] == "invalid_api_key"
            assert served.ask("/metrics", headers=headers).status_code == 401
        for _ in range(20):  # however often others guess
            served.ask("/v1/models", headers={"authorization": "Bearer wrong"})
        right = {"authorization": f"Bearer {KEY}", "host": "pictures.example.org"}
        assert served.ask("/v1/models", headers=right).status_code == 200
        assert served.ask("/health").status_code == 200
    finally:
        served.end()


class Slow:
    """A drawer that draws once it is let."""

    def __init__(self, service):
        self.may, self.begun, self.stopped = threading.Event(), threading.Event(), threading.Event()
        self._draw, service.batches._draw = service.studio.draw, self

    def __call__(self, settings, stopped):
        self.begun.set()
        while not self.may.wait(0.01):
            if stopped():
                self.stopped.set()
        return self._draw(settings, stopped)


def test_a_full_queue_and_an_ending_server_send_clients_elsewhere(pipeline):
    served = Served(pipeline, Access("127.0.0.1"), waiting=1)
    slow = Slow(served.service)
    with ThreadPoolExecutor(2) as pool:
        try:
            first = pool.submit(served.draw)
            assert slow.begun.wait(SECONDS)
            second = pool.submit(served.draw)
            until = time.monotonic() + SECONDS
            while served.service.batches.waiting < 1 and time.monotonic() < until:
                time.sleep(0.01)
            third = served.draw()
            assert third.status_code == 429 and 1 <= int(third.headers["retry-after"]) <= 60
            assert third.json()["error"]["type"] == "rate_limit_error"
            served.server.handle_exit(0, None)
            assert second.result(SECONDS).status_code == 503
        finally:
            slow.may.set()
            served.end()
        assert first.result(SECONDS).status_code in (200, 503)  # drawn, unless it takes longer than the time to end


def test_a_client_that_leaves_stops_its_picture(pipeline):
    served = Served(pipeline, Access("127.0.0.1"))
    slow = Slow(served.service)
    try:
        host, port = served.address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            body = b'{"prompt": "a"}'
            head = f"POST {GENERATIONS} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            assert slow.begun.wait(SECONDS)
        assert slow.stopped.wait(SECONDS)
        slow.may.set()
        assert served.draw().status_code == 200
    finally:
        slow.may.set()
        served.end()
