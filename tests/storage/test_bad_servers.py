"""Servers that say nothing, next to nothing, or too much: one line, after the time and the bytes that are allowed."""

import json
import shutil
import time

import fsspec
import pytest

from tests import bad_servers
from vqdiffusion_jax import patience
from vqdiffusion_jax.errors import ConfigError, NoAnswer, StorageError, TooMuch
from vqdiffusion_jax.patience import Progress, within
from vqdiffusion_jax.storage import listing
from vqdiffusion_jax.storage.copies import here
from vqdiffusion_jax.storage.transfer import Objects

SECONDS = 0.4
LONGEST = 20.0  # of a busy machine


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setenv(patience.VARIABLE, str(SECONDS))


@pytest.fixture(params=["s3", "gs"])
def bucket(request, monkeypatch):
    """A function that returns the objects of a bucket which a server in such a way serves."""
    pytest.importorskip({"s3": "s3fs", "gs": "gcsfs"}[request.param])
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "anything")
    kind = fsspec.get_filesystem_class(request.param)
    kind.clear_instance_cache()

    def served(endpoint):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", endpoint)
        return Objects(f"{request.param}://bucket/run")

    yield served
    kind.clear_instance_cache()


def told(call, match):
    """Check that a call ends in time with one line that matches."""
    began = time.monotonic()
    with pytest.raises(StorageError, match=match) as refused:
        call()
    assert time.monotonic() - began < LONGEST and "\n" not in str(refused.value)


@pytest.mark.parametrize("how", [bad_servers.silent, bad_servers.dripping, bad_servers.dripping_body])
def test_a_bucket_that_says_nothing_is_given_up(bucket, how, tmp_path):
    with bad_servers.misbehaving(how) as endpoint:
        objects = bucket(endpoint)
        told(lambda: objects.fetch({"a": 5000}, tmp_path), r"run/a cannot be read: (no answer|\d+ bytes came) in 0.4")
        told(lambda: objects.read("a"), "run/a cannot be read: no answer in 0.4 seconds; .* by VQDIFFUSION_TIMEOUT$")
        told(lambda: objects.write("a", b"x"), "run/a cannot be written to: no answer in 0.4 seconds")
        told(objects.sizes, "run cannot be listed: no answer in 2 seconds")
    assert not (tmp_path / "a").exists()


NAMES = [f"run/{number:03d}" for number in range(100)]
OF_S3 = "".join(
    f"<Contents><Key>{name}</Key><Size>1</Size><LastModified>2026-01-01T00:00:00Z</LastModified></Contents>"
    for name in NAMES
)
PAGES = {  # each says that there is another
    "s3": f"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>{OF_S3}"
    "</ListBucketResult>",
    "gs": json.dumps(
        {"kind": "storage#objects", "nextPageToken": "x", "items": [{"name": name, "size": "1"} for name in NAMES]}
    ),
}


def test_a_list_without_end_is_given_up_after_so_many_names(bucket, request, monkeypatch):
    monkeypatch.setenv(patience.VARIABLE, "20")
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    monkeypatch.setattr(listing, "MOST_NAMES", 1000)
    with bad_servers.misbehaving(bad_servers.pages(PAGES[request.node.callspec.params["bucket"]].encode())) as endpoint:
        objects = bucket(endpoint)
        for _ in range(2):  # each list is counted for itself
            told(objects.sizes, "run cannot be listed: more than 1,000 names come; name a folder of fewer objects, or")


def test_a_list_may_have_as_many_names_as_are_allowed(monkeypatch):
    files = fsspec.filesystem("memory")
    for number in range(5):
        files.pipe_file(f"/names/{number}", b"x")
    monkeypatch.setattr(listing, "MOST_NAMES", 5)
    assert len(Objects("memory://names").sizes()) == 5
    monkeypatch.setattr(listing, "MOST_NAMES", 4)
    told(Objects("memory://names").sizes, "memory://names cannot be listed: more than 4 names come")


@pytest.mark.parametrize("how", [bad_servers.endless, bad_servers.larger])
def test_an_object_that_is_larger_than_listed_ends_its_copy(bucket, how, tmp_path):
    with bad_servers.misbehaving(how) as endpoint:
        told(lambda: bucket(endpoint).fetch({"a": 5000}, tmp_path), "run/a cannot be read: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (bad_servers.silent, "no answer in 0.4 seconds"),
        (bad_servers.dripping_body, "bytes came in 0.4 seconds"),
        (bad_servers.endless, "more than its 900000 bytes come"),
        (bad_servers.larger, "2000000000000 bytes are announced, and there are 900000, or room for them"),
    ],
)
def test_a_file_of_the_web_ends_too(how, said, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda place: shutil._ntuple_diskusage(10**6, 0, 10**6))
    with bad_servers.misbehaving(how) as endpoint:
        told(lambda: here(f"{endpoint}/{how.__name__}.bin"), f"^{endpoint}/{how.__name__}.bin cannot be read: .*{said}")


def test_an_object_that_grows_while_it_is_copied_is_told(monkeypatch, tmp_path):
    files = fsspec.filesystem("memory")
    files.pipe_file("/grows/a", bytes(10_000))
    told(
        lambda: Objects("memory://grows").fetch({"a": 9_999}, tmp_path),
        "10000 bytes are announced.*it grows",
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf"])
def test_a_time_that_is_none_is_told(monkeypatch, text):
    monkeypatch.setenv(patience.VARIABLE, text)
    with pytest.raises(ConfigError, match=f"VQDIFFUSION_TIMEOUT is '{text}'; it must be a number of seconds above 0"):
        Objects("memory://bucket").sizes()


def test_progress_keeps_a_call_alive_and_ends_with_it():
    def slowly():
        for _ in range(8):
            time.sleep(0.1)
            progress.came(10**6)
        return "done"

    progress = Progress(SECONDS)
    assert within(slowly, progress) == "done"


def test_what_comes_after_a_call_was_given_up_ends_its_thread():
    ended = []

    def dripping():
        try:
            while True:
                time.sleep(0.02)
                progress.came(1)
        except NoAnswer:
            ended.append(True)
            raise

    progress = Progress(0.1)
    with pytest.raises(NoAnswer, match="bytes came in 0.1 seconds"):
        within(dripping, progress)
    deadline = time.monotonic() + LONGEST
    while not ended and time.monotonic() < deadline:
        time.sleep(0.02)
    assert ended


def test_more_than_allowed_ends_a_call():
    progress = Progress(SECONDS, most=10)
    with pytest.raises(TooMuch, match="more than its 10 bytes come"):
        within(lambda: progress.came(11), progress)


def test_what_is_measured_counts_as_progress():
    began = time.monotonic()
    progress = Progress(0.2, measured=lambda: int((time.monotonic() - began) * 10**6))
    assert within(lambda: time.sleep(0.6), progress) is None
