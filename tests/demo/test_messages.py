import asyncio

import pytest

from vqdiffusion_jax.demo.limits import Limits
from vqdiffusion_jax.demo.messages import check_messages, fault_of

core = pytest.importorskip("nicegui").core
EVENT = {"id": 3, "client_id": "page", "listener_id": "7", "args": ['{"value": 1}', None]}
NESTED = "[" * 100_000


@pytest.fixture
def sent(monkeypatch):
    """Send messages as a browser; returns the lines that its page shows, and what NiceGUI was given."""
    told, given = [], []

    def handler(sid, message):
        given.append(message)
        if message.get("id") == 4:
            raise KeyError("no\nsuch listener")

    kinds = ("event", "javascript_response", "ack", "handshake", "log")
    monkeypatch.setitem(core.sio.handlers, "/", dict.fromkeys(kinds, handler))
    monkeypatch.setattr(core.sio, "rooms", lambda sid: [sid, "page"])
    check_messages(Limits(), lambda visit, line: told.append((visit, line)))

    def send(kind, *arguments):
        asyncio.run(core.sio.handlers["/"][kind]("socket", *arguments))
        return told, given

    return send


def test_a_message_reaches_the_page(sent):
    assert sent("event", EVENT) == ([], [EVENT])


BAD = [None, 5, "x" * 10**6, [], {}, [EVENT], NESTED]
BAD += [EVENT | {"id": bad} for bad in (None, "3", [3], {}, True)]
BAD += [EVENT | {"client_id": bad} for bad in (None, 1, ["page"])]
BAD += [EVENT | {"listener_id": bad} for bad in (None, 1, [])]
BAD += [EVENT | {"args": bad} for bad in ("x", {}, [1], [[]], ["x" * 20_001], ["x" * 101] * 200, [NESTED])]
BAD += [EVENT | {"id": 4}]


@pytest.mark.parametrize("message", BAD, ids=range(len(BAD)))
def test_a_message_that_cannot_be_used_is_one_line_on_its_page(sent, message, caplog):
    told, _ = sent("event", message)
    lines = [line for visit, line in told if visit == "page"]
    assert len(lines) == 1 and len(lines[0]) < 250 and lines[0].isprintable()
    assert lines[0].startswith("a message of this page cannot be used: ") and not caplog.records


# As the browser sends them; NiceGUI keeps some fields and reads them again when the socket has gone.
OTHERS = {
    "handshake": {"client_id": "page", "tab_id": "a", "old_tab_id": None, "document_id": "b", "next_message_id": 0},
    "ack": {"client_id": "page", "next_message_id": 3},
    "javascript_response": {"client_id": "page", "request_id": "r", "result": {"any": ["thing"]}},
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_messages_reach_the_page(sent, kind):
    assert sent(kind, OTHERS[kind]) == ([], [OTHERS[kind]])


@pytest.mark.parametrize("bad", [["a"], {"a": 1}, True, 1.5])
@pytest.mark.parametrize(
    "kind, name", [(kind, name) for kind, message in OTHERS.items() for name in message if name != "result"]
)
def test_a_field_of_a_wrong_type_is_never_kept(sent, kind, name, bad):
    told, given = sent(kind, OTHERS[kind] | {name: bad})
    assert not given and any(f"its {name} is missing or of a wrong type" in line for _, line in told)


@pytest.mark.parametrize("arguments", [(), (EVENT, EVENT), (None,), ([],), ("x",)])
@pytest.mark.parametrize("kind", ["event", "javascript_response", "ack", "handshake", "log"])
def test_no_number_of_arguments_is_an_error(sent, kind, arguments, caplog):
    _, given = sent(kind, *arguments)
    assert not given and not caplog.records


def test_visitors_write_no_log(sent):
    assert sent("log", {"client_id": "page", "level": "error", "message": "all is lost"}) == ([], [])


def test_a_thousand_bad_messages_are_a_thousand_lines_and_no_more(sent, caplog):
    for number in range(1000):
        told, given = sent("event", EVENT | {"id": [number]})
    assert not given and not caplog.records and len({line for visit, line in told if visit == "page"}) == 1


def test_long_inputs_say_how_long_they_are():
    fault = fault_of("event", EVENT | {"args": ["x" * 30_000]}, 20_000)
    assert fault == "it brings 30,000 characters; at most 20,000 are taken"
