"""Released files come in parts from a server on this machine: joined, resumed, checked, converted."""

import hashlib
import importlib
import re
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from tests.in_process import left_as_it_was
from tests.interop.files import codec_config, codec_module, save
from vqdiffusion_jax.errors import CheckpointError
from vqdiffusion_jax.interop.codecs.rules import codec_rules
from vqdiffusion_jax.interop.engine import unapply
from vqdiffusion_jax.loading import load_codec
from vqdiffusion_jax.released import RELEASED, ReleasedFile, fetch

fetching = importlib.import_module("vqdiffusion_jax.released.fetch")
CONTENT = np.random.default_rng(0).bytes(10_000)
FILE = ReleasedFile("tiny.pth", 3)


class Server:
    """files: by name.  cut: bytes after which an answer breaks off, in turn.  asked: (name, Range) of each GET."""

    def __init__(self):
        self.files, self.cut, self.asked, self.ranges, self.status = {}, [], [], True, {}

    def split(self, file: ReleasedFile, content: bytes, size: int = 4000) -> None:
        for number, piece in enumerate(file.pieces):
            self.files[piece] = content[number * size : (number + 1) * size]


@pytest.fixture
def server(monkeypatch):
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format, *args):  # noqa: A002 (the name of the base class)
            pass

        def do_HEAD(self):
            self.answer()

        def do_GET(self):
            self.answer()

        def answer(self):
            name = self.path.removeprefix("/release/")
            if name not in state.files or name in state.status:
                self.send_error(state.status.get(name, 404))
                return
            content, status = state.files[name], 200
            if self.command == "GET":
                asked = self.headers.get("Range")
                state.asked.append((name, asked))
                if asked and state.ranges:
                    content, status = content[int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) :], 206
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content[: state.cut.pop(0) if state.cut else None])

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setattr(fetching, "_PAUSE", 0.0)
    state.base = f"http://127.0.0.1:{running.server_address[1]}/release"
    yield state
    running.shutdown()
    running.server_close()


def test_parts_are_named_as_split_names_them():
    assert FILE.pieces == ("tiny_aa", "tiny_ab", "tiny_ac")
    assert RELEASED["ithq_learnable.pth"].pieces[-1] == "ithq_learnable_ak"
    assert RELEASED["ViT-B-32.pt"].pieces == ("ViT-B-32.pt",)
    assert all(file.companion in RELEASED for file in RELEASED.values() if file.companion)


def test_parts_are_joined_and_watched(server, tmp_path):
    server.split(FILE, CONTENT)
    seen = []
    path = fetch(FILE, tmp_path / "new", base=server.base + "/", watch=lambda *bytes_: seen.append(bytes_))
    assert path.read_bytes() == CONTENT and seen[-1] == (10_000, 10_000)
    assert [entry.name for entry in path.parent.iterdir()] == ["tiny.pth"]
    server.asked.clear()
    assert fetch(FILE, tmp_path / "new", base=server.base) == path and not server.asked


def test_a_broken_answer_is_taken_up_where_it_broke(server, tmp_path):
    server.split(FILE, CONTENT)
    server.cut = [1500, 1000]
    assert fetch(FILE, tmp_path, base=server.base).read_bytes() == CONTENT
    assert [asked for _, asked in server.asked[:3]] == [None, "bytes=1500-", "bytes=2500-"]


def test_answers_of_a_few_bytes_each_come_to_an_end(server, tmp_path):
    server.split(FILE, CONTENT)
    server.cut = [1] * len(CONTENT)
    with pytest.raises(CheckpointError, match="tiny_aa cannot be fetched .* bytes early"):
        fetch(FILE, tmp_path, base=server.base)
    assert len(server.asked) == 4


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_goes_on(server, tmp_path, ranges):
    server.split(FILE, CONTENT)
    server.status["tiny_ac"] = 503  # a fault that may pass
    (tmp_path / "three").mkdir()
    with pytest.raises(CheckpointError, match=r"tiny_ac cannot be fetched \(.*\); check the network.*goes on where it"):
        fetch(FILE, tmp_path / "three", base=server.base)
    server.status.clear()
    server.asked.clear()
    server.ranges = ranges
    (tmp_path / "three" / "tiny.pth.partial").write_bytes(CONTENT[:5000])
    assert fetch(FILE, tmp_path / "three", base=server.base).read_bytes() == CONTENT
    assert server.asked == [("tiny_ab", "bytes=1000-"), ("tiny_ac", None)]


def test_what_is_wrong_is_one_line(server, tmp_path):
    server.split(FILE, CONTENT)
    for file, base, message in (
        (replace(FILE, parts=4), server.base, r"tiny_ad answers 404 \(.*\); name a mirror with --base"),
        (FILE, "ftp://x", "base is ftp://x; give an address that begins with http:// or https://"),
        (replace(FILE, gibibytes=1.0), server.base, "has 10000 bytes, and tiny.pth has at least 1073741824; delete it"),
        (replace(FILE, sha256="0" * 64), server.base, "has the SHA-256 [0-9a-f]{64}, and tiny.pth has 0{64}"),
        (FILE, "http://127.0.0.1:9", "tiny_aa cannot be fetched .*refused"),
    ):
        with pytest.raises(CheckpointError, match=message) as caught:
            fetch(file, tmp_path / "folder", base=base)
        assert "\n" not in str(caught.value) and not (tmp_path / "folder" / "tiny.pth").exists()
    hashed = replace(FILE, sha256=hashlib.sha256(CONTENT).hexdigest())
    assert fetch(hashed, tmp_path / "folder", base=server.base).read_bytes() == CONTENT
    server.files["tiny_aa"] = CONTENT[:3000]
    with pytest.warns(UserWarning, match="the parts of tiny.pth at .* differ in size; one may be incomplete"):
        fetch(FILE, tmp_path / "short", base=server.base)


def test_a_file_is_fetched_and_converted_by_the_command_line(server, tmp_path, monkeypatch, capsys):
    from vqdiffusion_jax.cli.main import run

    codec = codec_module(codec_config("ema"))
    tensors = unapply(codec_rules(quantizer="ema"), codec)
    content = save(tmp_path / "codec.pth", {"model": tensors}).read_bytes()
    file = ReleasedFile("tiny.pth", 2)
    server.split(file, content, len(content) // 2 + 1)
    monkeypatch.setitem(RELEASED, "tiny.pth", file)
    command = ["main.py", "--mode=fetch", f"--base={server.base}", f"--out={tmp_path / 'out'}"]
    with left_as_it_was():
        assert run([*command, "--released=tiny.pth"]) == 0
    assert "fetched: " in capsys.readouterr().out
    np.testing.assert_array_equal(
        load_codec(tmp_path / "out" / "tiny").decoder.conv_in.kernel[...], codec.decoder.conv_in.kernel[...]
    )
    with left_as_it_was():
        assert run([*command, "--released=coco_lernable.pth"]) == 1
    assert "did you mean coco_learnable.pth?" in capsys.readouterr().err
