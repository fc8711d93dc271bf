"""The guard of the page, in process: an ASGI application around one that records what it is asked."""

import asyncio

import httpx
import pytest

from vqdiffusion_jax.demo.guard import COOKIE, HEADERS, PageGuard
from vqdiffusion_jax.demo.limits import Limits
from vqdiffusion_jax.web.access import Access, is_loopback

HERE = "http://127.0.0.1:8080"
PASSWORD = "eight or more"
UPLOAD = "/_nicegui/client/1/upload/2"


class Recorder:
    """An application that takes everything and answers as a careless one does."""

    def __init__(self):
        self.asked = []

    async def __call__(self, scope, receive, send):
        self.asked.append(scope["path"])
        if scope["path"] == "/broken":
            raise RuntimeError("no\nsuch\x1b[31m thing")
        if scope["type"] == "websocket":
            return await send({"type": "websocket.accept"})
        body = (await receive()).get("body", b"") if scope["method"] == "POST" else b""
        headers = [(b"access-control-allow-origin", b"*"), (b"x-frame-options", b"ALLOWALL")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": str(len(body)).encode()})


def guarded(access=None, limits=None, client=("127.0.0.1", 1), **options):
    """Return the application behind the guard, and a browser that asks the guard."""
    app = Recorder()
    guard = PageGuard(app, access=access or Access("127.0.0.1"), limits=limits or Limits(), **options)
    transport = httpx.ASGITransport(guard, client=client)
    return app, httpx.AsyncClient(transport=transport, base_url=HERE)


def asked(method, path, *, browser=None, **options):
    """Return the answer to one request, and whether the application saw it."""
    app, browser = browser or guarded()

    async def ask():
        return await browser.request(method, path, **options)

    answer = asyncio.run(ask())
    return answer, bool(app.asked)


def knock(headers, access=None):
    """Ask for a websocket and return the messages of the answer."""
    guard, sent = PageGuard(Recorder(), access=access or Access("127.0.0.1"), limits=Limits()), []

    async def ask():
        scope = {"type": "websocket", "path": "/_nicegui_ws/socket.io/", "headers": headers, "client": ("127.0.0.1", 1)}

        async def receive():
            return {"type": "websocket.connect"}

        async def send(message):
            sent.append(message)

        await guard(scope, receive, send)

    asyncio.run(ask())
    return [message["type"] for message in sent]


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "LOCALHOST", "[::1]:9", "localhost.:8080"])
def test_names_of_the_loopback_are_served(host):
    answer, seen = asked("GET", "/", headers={"host": host})
    assert answer.status_code == 200 and seen


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "evil.example:8080",
        "10.0.0.1",
        "localhost@evil.example",
        "",
        "a b",
        "[",
    ],
)
@pytest.mark.parametrize("method, path", [("GET", "/"), ("POST", UPLOAD), ("GET", "/_nicegui_ws/socket.io/")])
def test_a_name_that_points_here_draws_nothing(host, method, path):
    answer, seen = asked(method, path, headers={"host": host})
    assert answer.status_code in (400, 421) and not seen
    assert knock([(b"host", host.encode()), (b"origin", f"http://{host}".encode())]) == ["websocket.close"]


def test_two_hosts_are_refused():
    answer, seen = asked("GET", "/", headers=[("host", "127.0.0.1"), ("host", "evil.example")])
    assert answer.status_code == 400 and not seen


@pytest.mark.parametrize(
    "listens, host, served",
    [
        ("0.0.0.0", "192.168.1.5:8080", True),
        ("::", "[fe80::1]", True),
        ("0.0.0.0", "evil.example", False),
        ("studio.example", "Studio.Example:8080", True),
        ("studio.example", "192.168.1.5", False),
        ("192.168.1.5", "192.168.1.5", True),
    ],
)
def test_the_address_listened_on_is_served(listens, host, served):
    assert Access(listens).serves(host) is served


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "file://"},
        {"origin": "http://127.0.0.1:8080/path"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "sec-fetch-dest": "image"},
    ],
)
def test_other_pages_send_nothing(headers):
    for method, path in (("POST", UPLOAD), ("GET", "/_nicegui_ws/socket.io/"), ("GET", "/")):
        answer, seen = asked(method, path, headers=headers)
        assert answer.status_code == 403 and not seen and "access-control-allow-origin" not in answer.headers
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert knock([(b"host", b"127.0.0.1:8080"), *raw]) == ["websocket.close"]


def test_the_page_itself_and_links_to_it_are_let_in():
    own = {"origin": HERE, "sec-fetch-site": "same-origin"}
    assert asked("POST", UPLOAD, headers=own)[1]
    assert knock([(b"host", b"127.0.0.1:8080"), (b"origin", HERE.encode())]) == ["websocket.accept"]
    assert asked("GET", "/", headers={"sec-fetch-site": "cross-site", "sec-fetch-dest": "document"})[1]
    assert not asked("GET", "/", headers={"sec-fetch-site": "cross-site", "sec-fetch-dest": "iframe"})[1]


@pytest.mark.parametrize("path, headers", [("/", {}), ("/broken", {}), ("/", {"host": "evil.example"})])
def test_every_answer_protects_the_page(path, headers):
    answer, _ = asked("GET", path, headers=headers)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "TRACE", "WHATEVER"])
def test_other_methods_are_refused(method):
    answer, seen = asked(method, "/")
    assert answer.status_code == 405 and not seen


@pytest.mark.parametrize(
    "path, options",
    [
        (UPLOAD, {"content": bytes(2_000)}),
        ("/", {"content": bytes(600)}),
        (UPLOAD, {"headers": {"content-length": "-1"}}),
        (UPLOAD, {"headers": {"content-length": "9" * 4000}}),
        (UPLOAD, {"headers": {"content-length": "0x10"}}),
        (UPLOAD, {"headers": {"transfer-encoding": "chunked"}}),
    ],
)
def test_large_bodies_are_refused_before_they_are_read(path, options):
    limits = Limits(upload_bytes=1_000 - 2**16, message_bytes=500)
    answer, seen = asked("POST", path, browser=guarded(limits=limits), **options)
    assert answer.status_code == 413 and not seen


def test_a_body_arrives_whole():
    answer, _ = asked("POST", UPLOAD, content=bytes(100_000))
    assert answer.text == "100000"


def test_a_slow_body_is_given_up_and_holds_no_other():
    guard = PageGuard(Recorder(), access=Access("127.0.0.1"), limits=Limits(body_seconds=0.2))

    async def status(*parts):
        """Return the status of a request whose body comes in these parts, the last of which never comes if None."""
        sent, left = [], list(parts)
        scope = {
            "type": "http",
            "method": "POST",
            "path": UPLOAD,
            "headers": [(b"host", b"127.0.0.1"), (b"content-length", b"9")],
            "client": ("127.0.0.1", 1),
        }

        async def receive():
            part = left.pop(0)
            if part is None:
                await asyncio.sleep(30)
            return {"type": "http.request", "body": part, "more_body": bool(left)}

        async def send(message):
            sent.append(message)

        await guard(scope, receive, send)
        return sent[0]["status"]

    async def all_of_them():
        slow = [asyncio.create_task(status(b"x", None)) for _ in range(50)]
        await asyncio.sleep(0)
        assert await status(b"x", b"yz") == 200 and not any(task.done() for task in slow)
        return {await task for task in slow}

    assert asyncio.run(all_of_them()) == {408}


def test_bodies_that_the_application_has_not_taken_count():
    """However many requests wait behind one that is answered, their bodies take no more memory than is allowed."""
    may, taken = asyncio.Event(), []

    async def app(scope, receive, send):
        await may.wait()
        taken.append(len((await receive())["body"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    guard = PageGuard(app, access=Access("127.0.0.1"), limits=Limits(bodies_bytes=2500))

    async def ask():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url=HERE) as browser:
            waiting = [asyncio.ensure_future(browser.post("/", content=b"x" * 1000)) for _ in range(3)]
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert [one.result().status_code for one in done] == [503] and not taken
            may.set()
            statuses = sorted([(await one).status_code for one in waiting])
            return statuses, (await browser.post("/", content=b"x" * 2000)).status_code

    assert asyncio.run(ask()) == ([200, 200, 503], 200) and taken == [1000, 1000, 2000]


def test_an_error_is_one_line_of_the_log(caplog):
    answer, _ = asked("GET", "/broken")
    (record,) = caplog.records
    assert answer.status_code == 500 and record.exc_info is None
    assert record.getMessage() == r"a request could not be answered (RuntimeError: no such\x1b[31m thing)"


def test_visits_and_pages_opened_are_bounded():
    assert asked("GET", "/", browser=guarded(visits=lambda: 400))[0].status_code == 503
    assert asked("GET", "/other", browser=guarded(visits=lambda: 400))[0].status_code == 200
    limits, address = Limits(pages_a_minute=3), Access("0.0.0.0")
    for client, expected in ((("10.0.0.9", 1), [200] * 3 + [429]), (("127.0.0.1", 1), [200] * 4)):
        _, browser = guarded(address, limits, client=client)

        async def ask(browser=browser):
            return [(await browser.get("/")).status_code for _ in range(4)]

        assert asyncio.run(ask()) == expected


def test_a_password_opens_the_page():
    app, browser = guarded(Access("0.0.0.0", PASSWORD))

    async def visit():
        closed = await browser.get("/")
        assert closed.status_code == 401 and "password" in closed.text and closed.headers["cache-control"] == "no-store"
        assert (await browser.post(UPLOAD, content=b"x")).status_code == 401
        wrong = await browser.post("/login", data={"password": "something else"})
        assert wrong.status_code == 401 and "not the password" in wrong.text and not app.asked
        right = await browser.post("/login", data={"password": PASSWORD})
        assert right.status_code == 303 and right.headers["location"] == "/"
        cookie = right.headers["set-cookie"]
        assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower() and PASSWORD not in cookie
        assert (await browser.get("/")).status_code == 200 and app.asked == ["/"]
        bare = {"cookie": f"{COOKIE}=forged"}
        assert (await browser.get("/", headers=bare)).status_code == 401

    asyncio.run(visit())
    assert asked("GET", "/", browser=(app, browser), headers={"authorization": f"Bearer {PASSWORD}"})[1]
    assert knock([(b"host", b"127.0.0.1")], Access("0.0.0.0", PASSWORD)) == ["websocket.close"]


@pytest.mark.parametrize("body", [b"", b"password", b"\xff=\xfe", b"a=1&" * 1000, b"password=" + b"x" * 100_000])
def test_a_login_that_cannot_be_read_is_refused(body):
    answer, seen = asked("POST", "/login", browser=guarded(Access("0.0.0.0", PASSWORD)), content=body)
    assert answer.status_code in (400, 401) and not seen


def test_passwords_are_not_guessed():
    access, limits = Access("0.0.0.0", PASSWORD), Limits(logins_a_minute=3)
    for guess in (
        lambda browser, word: browser.post("/login", data={"password": word}),
        lambda browser, word: browser.get("/", headers={"authorization": f"Bearer {word}"}),
    ):
        _, browser = guarded(access, limits)

        async def guesses(browser=browser, guess=guess):
            return [(await guess(browser, word)).status_code for word in ("a", "b", "c", PASSWORD)]

        assert asyncio.run(guesses()) == [401, 401, 401, 429]


def test_the_password_is_in_no_repr():
    access = Access("0.0.0.0", PASSWORD)
    assert PASSWORD not in repr(access) and access.session not in repr(access)
    assert access.is_password(PASSWORD) and not access.is_password(PASSWORD[:-1]) and not access.is_password("ü")


@pytest.mark.parametrize(
    "host, alone",
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)]
    + [("", False), ("10.0.0.1", False), ("no.such.name.invalid", False)],
)
def test_the_loopback_is_known(host, alone):
    assert is_loopback(host) is alone
