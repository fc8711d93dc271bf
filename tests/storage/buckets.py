"""Buckets on loopback: S3 by moto, Google's storage by its emulator, and fsspec's memory, which needs neither."""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Iterator

import fsspec
import pytest

SCHEMES = ("memory", "s3", "gs")
_BUCKET = "tests-of-buckets"


@contextlib.contextmanager
def served(scheme: str) -> Iterator[None]:
    """Serve a bucket of this scheme, with the environment that leads clients to it."""
    with pytest.MonkeyPatch.context() as patch:
        if scheme == "s3":
            pytest.importorskip("s3fs", reason="s3fs is not installed")
            server = pytest.importorskip("moto.server", reason="moto is not installed").ThreadedMotoServer(
                ip_address="127.0.0.1", port=0, verbose=False
            )
            server.start()
            host, port = server.get_host_and_port()
            patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                patch.setenv(name, "anything")
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            fsspec.filesystem("s3", skip_instance_cache=True).mkdir(_BUCKET)
        elif scheme == "gs":
            pytest.importorskip("gcsfs", reason="gcsfs is not installed")
            emulator = pytest.importorskip(
                "gcp_storage_emulator.server", reason="gcp-storage-emulator is not installed"
            )
            _keep_last_bytes(emulator, patch)
            server = emulator.create_server("127.0.0.1", 0, in_memory=True, default_bucket=_BUCKET)
            server.start()
            port = server._api._httpd.server_address[1]
            patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
            patch.setenv("TENSORSTORE_GCS_HTTP_URL", f"http://127.0.0.1:{port}")
            patch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "anything")
        else:
            server = None
        try:
            yield
        finally:
            if server is not None:
                server.stop()
            fsspec.get_filesystem_class(scheme).clear_instance_cache()


def _keep_last_bytes(emulator, patch):
    """Let the emulator keep objects as they are; its parser, one of mails, drops a carriage return at their end."""
    read, read_raw, local = emulator._read_data, emulator._read_raw_data, threading.local()

    def exactly(handler, query):
        local.raw = read_raw(handler)
        found = read(handler, query)
        if isinstance(found, dict) and "content" in found:
            mark = b"--" + handler.headers["Content-Type"].partition("boundary=")[2].strip('"').encode()
            second = local.raw.partition(mark)[2].partition(mark)[2]
            found["content"] = second.partition(b"\n\n")[2].rpartition(b"\n" + mark)[0]
        return found

    patch.setattr(emulator, "_read_raw_data", lambda handler: local.raw)
    patch.setattr(emulator, "_read_data", exactly)


def new_folder(scheme: str) -> str:
    """Return the address of a folder that nobody else has."""
    return f"{scheme}://{_BUCKET}/{uuid.uuid4().hex}"


def names(address: str) -> list[str]:
    """Return the names of all objects below an address, read by fsspec alone."""
    files, path = fsspec.core.url_to_fs(address)
    files.invalidate_cache()
    try:
        return sorted(found[len(path) :].strip("/") for found in files.find(path))
    except FileNotFoundError:
        return []


def read(address: str) -> bytes:
    """Return the bytes of an object, read by fsspec alone."""
    files, path = fsspec.core.url_to_fs(address)
    return files.cat_file(path)


def put(address: str, data: bytes) -> None:
    """Write an object, by fsspec alone."""
    files, path = fsspec.core.url_to_fs(address)
    files.pipe_file(path, data)


# gcsfs otherwise asks by gRPC, which the emulator does not speak, of what kind a bucket is, for minutes.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
