"""A server on this machine that speaks as much of the Hugging Face hub's API as its client uses."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

LARGE = 4096  # bytes; such files lie on another host, to which the hub redirects, and are uploaded there


class FakeHub:
    """Repositories in memory, and what was asked for.

    repos: by name, each a table from revision to files.  private, gated: names of repositories.  token: the one that is
    taken.  cut: bytes after which the connection breaks, once for every entry, by the end of a file's name.  requests:
    (method, path, Range) of each.  instead: what answers requests whose path holds a text, given the handler.
    """

    def __init__(self):
        self.repos: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: set[str] = set()
        self.gated: set[str] = set()
        self.token = "hf_right"
        self.cut: dict[str, list[int]] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.uploaded: dict[str, bytes] = {}
        self.messages: list[str] = []
        self.instead: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}

    def add(self, repo: str, folder: Path, revision: str = "main", below: str = "") -> None:
        """Make a revision of a repository of a folder's files."""
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        start = f"{below}/" if below else ""
        table = self.repos.setdefault(repo, {}).setdefault(revision, {})
        table.update({start + name: content for name, content in files.items()})

    def fetched(self) -> list[str]:
        """Return the names of the files that were asked for; the bytes of large ones lie elsewhere."""
        pattern = re.compile(r"/[^/]+/[^/]+/resolve/[^/]+/(.*)")
        found = [pattern.fullmatch(urlsplit(path).path) for method, path, _ in self.requests if method == "HEAD"]
        return [unquote(match[1]) for match in found if match]


def commit_of(repo: str, revision: str) -> str:
    return hashlib.sha1(f"{repo}@{revision}".encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, format, *args):  # noqa: A002 (the name of the base class)
        pass

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def do_POST(self):
        self._answer()

    def do_PUT(self):
        self._answer()

    def _answer(self) -> None:
        split = urlsplit(self.path)
        path, query = split.path, parse_qs(split.query)
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size) if size else b""
        self.hub.requests.append((self.command, self.path, self.headers.get("Range")))
        if answer := next((self.hub.instead[part] for part in self.hub.instead if part in path), None):
            self.close_connection = True
            return answer(self)
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if match := re.fullmatch(r"/store/([0-9a-f]+)", path):
            if self.command == "PUT":
                self.hub.uploaded[match[1]] = body
                return self._send(200, b"")
            return self._content(match[1])
        if match := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            return self._batch(json.loads(body))
        if match := re.fullmatch(
            r"/api/models/([^/]+/[^/]+)(?:/(revision|tree|preupload|commit|branch)/([^/]+))?", path
        ):
            repo, what, revision = match[1], match[2] or "revision", unquote(match[3] or "main")
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.*)", path):
            repo, what, revision = match[1], "resolve", unquote(match[2])
        else:
            return self._fail(404, None, "Not Found")
        if self._forbidden(repo, what):
            return None
        if what == "branch":
            self.hub.repos[repo].setdefault(revision, dict(self.hub.repos[repo].get("main", {})))
            return self._json({})
        named = {
            **{commit_of(repo, name): name for name in self.hub.repos[repo]},
            **{n: n for n in self.hub.repos[repo]},
        }
        if revision not in named:
            return self._fail(404, "RevisionNotFound", "Invalid rev id")
        revision = named[revision]
        files = self.hub.repos[repo][revision]
        if what == "revision":
            names = [{"rfilename": name} for name in files]
            return self._json({"id": repo, "modelId": repo, "sha": commit_of(repo, revision), "siblings": names})
        if what == "tree":
            return self._json([self._entry(name, content) for name, content in files.items()])
        if what == "preupload":
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["size"] >= LARGE else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return self._json({"files": modes})
        if what == "commit":
            return self._commit(repo, revision, body, query)
        name = unquote(path.partition(f"/resolve/{match[2]}/")[2])
        if name not in files:
            return self._fail(404, "EntryNotFound", "Entry not found")
        return self._file(repo, revision, name, files[name])

    def _forbidden(self, repo: str, what: str) -> bool:
        given = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if given and given != self.hub.token:
            self._fail(401, None, "Invalid credentials in Authorization header")
        elif repo in self.hub.private and not given or repo not in self.hub.repos:
            self._fail(401 if not given else 404, "RepoNotFound", "Repository not found")
        elif repo in self.hub.gated and not given and what == "resolve":
            self._fail(403, "GatedRepo", "Access to this model is restricted")
        elif what in ("commit", "preupload", "branch") and not given:
            self._fail(401, None, "Invalid username or password.")
        else:
            return False
        return True

    def _entry(self, name: str, content: bytes) -> dict:
        entry = {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
        if len(content) >= LARGE:
            digest = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 130}
        return entry

    def _file(self, repo: str, revision: str, name: str, content: bytes) -> None:
        headers = {"X-Repo-Commit": commit_of(repo, revision)}
        if len(content) >= LARGE:
            digest = hashlib.sha256(content).hexdigest()
            self.hub.uploaded[digest] = content
            if name.rpartition("/")[2] in self.hub.cut:
                self.hub.cut[digest] = self.hub.cut[name.rpartition("/")[2]]
            place = f"http://localhost:{self.server.server_address[1]}/store/{digest}"
            headers |= {"Location": place, "X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
            return self._send(302, b"", headers)
        return self._send(200, content, headers | {"ETag": f'"{hashlib.sha1(content).hexdigest()}"'})

    def _content(self, digest: str) -> None:
        content, status, headers = self.hub.uploaded[digest], 200, {"ETag": f'"{digest}"', "Accept-Ranges": "bytes"}
        whole = len(content)
        if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            start = int(match[1])
            content, status = content[start:], 206
            headers["Content-Range"] = f"bytes {start}-{whole - 1}/{whole}"
        breaks = self.hub.cut.get(digest)
        self._send(status, content, headers, breaks.pop(0) if breaks and self.command == "GET" else None)

    def _create(self, asked: dict) -> None:
        if (self.headers.get("Authorization") or "") != f"Bearer {self.hub.token}":
            return self._fail(401, None, "Invalid username or password.")
        repo = "/".join(filter(None, (asked.get("organization"), asked["name"])))
        url = f"http://{self.headers['Host']}/{repo}"
        if repo in self.hub.repos:
            return self._send(409, json.dumps({"error": "You already created this model repo", "url": url}).encode())
        self.hub.repos[repo] = {"main": {}}
        if asked.get("private") or asked.get("visibility") == "private":
            self.hub.private.add(repo)
        return self._json({"url": url})

    def _batch(self, asked: dict) -> None:
        base = f"http://{self.headers['Host']}/store/"
        objects = [
            {"oid": one["oid"], "size": one["size"], "actions": {"upload": {"href": base + one["oid"]}}}
            for one in asked["objects"]
        ]
        self._json({"transfer": "basic", "objects": objects})

    def _commit(self, repo: str, revision: str, body: bytes, query: dict) -> None:
        files = self.hub.repos[repo][revision]
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                self.hub.messages.append(value["summary"])
            elif entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.uploaded[value["oid"]]
        base = f"http://{self.headers['Host']}/{repo}"
        self._json({"commitUrl": f"{base}/commit/{commit_of(repo, revision)}", "commitOid": commit_of(repo, revision)})

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _fail(self, status: int, code: str | None, message: str) -> None:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self._send(status, json.dumps({"error": message}).encode(), headers)

    def _send(self, status: int, content: bytes, headers: dict | None = None, cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True


@contextmanager
def served(hub: FakeHub) -> Iterator[str]:
    """Serve a hub and yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def use(monkeypatch: pytest.MonkeyPatch, endpoint: str, home: Path) -> None:
    """Let the client, which reads its environment when it is imported, talk to ``endpoint`` and keep files below."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # that protocol is not spoken here
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
