"""A cache of the hub that is damaged, or that a stranger has written to."""

import os

import pytest

from vqdiffusion_jax.errors import CheckpointError
from vqdiffusion_jax.hub import locate

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def reference(tmp_path):
    """Return the file that names the commit of the one repository of a cache, in ``tmp_path``."""
    repo = tmp_path / "models--owner--name"
    for folder in ("refs", f"snapshots/{COMMIT}"):
        (repo / folder).mkdir(parents=True)
    (repo / "snapshots" / COMMIT / "config.json").write_text("{}")
    return repo / "refs" / "main"


def found(tmp_path):
    return locate("owner/name", cache_dir=tmp_path, local_files_only=True)


def test_a_whole_cache_is_read(reference, tmp_path):
    reference.write_text(COMMIT)
    assert found(tmp_path).commit == COMMIT


@pytest.mark.parametrize(
    "text", [b"../../..", b"/etc", b"", b"..", b"\xff", b"\0", b"a" * 5000, COMMIT.encode() + b"\n"]
)
def test_a_text_that_is_no_commit_is_one_line(reference, tmp_path, text):
    reference.write_bytes(text)
    with pytest.raises(CheckpointError, match=f"{reference} is damaged .* delete {reference.parents[1]} to fetch"):
        found(tmp_path)


def test_what_is_no_file_is_not_read(reference, tmp_path):
    for make in (
        os.mkfifo,
        os.mkdir,
        lambda path: os.symlink("/dev/zero", path),
        lambda path: os.symlink("main", path),
    ):
        make(reference)
        with pytest.raises(CheckpointError, match="refs/main is damaged"):
            found(tmp_path)
        reference.rmdir() if reference.is_dir() else reference.unlink()
