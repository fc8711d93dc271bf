"""Addresses are told from paths, and refused, before anything is asked of a network."""

from pathlib import Path

import pytest

from vqdiffusion_jax.errors import StorageError
from vqdiffusion_jax.storage.addresses import absolute, address_of, check_address, folder_of, joined, local_path


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("s3://bucket/run", "s3://bucket/run"),
        ("gs:/bucket/run", "gs://bucket/run"),
        (Path("memory://bucket/run"), "memory://bucket/run"),
        ("a::s3://bucket/run", "a::s3://bucket/run"),
        ("runs/one", None),
        ("C:/runs", None),
        ("configs/coco.py:small", None),
        ("odd:/name", None),
        ("file:///runs/one", None),
        ("", None),
    ],
)
def test_addresses_are_told_from_paths(place, expected):
    assert address_of(place) == expected


def test_a_path_typed_as_file_is_a_path():
    assert local_path("file:///runs/one") == Path("/runs/one") and local_path("runs/one") == Path("runs/one")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("zz://bucket/run", "zz:// is not known"),
        ("memory://", "names no bucket"),
        ("hf://owner/name", "names a model"),
        ("simplecache::memory://bucket/run", "joined by ::"),
        ("https://host/run", "cannot be written to"),
    ],
)
def test_what_cannot_be_served_is_quoted_as_typed(address, said):
    with pytest.raises(StorageError, match=said) as refused:
        check_address(address, writing=True)
    assert str(refused.value).startswith(address) and "\n" not in str(refused.value)


@pytest.mark.parametrize(("scheme", "package"), [("gs", "gcsfs"), ("s3", "s3fs"), ("abfs", "adlfs")])
def test_a_missing_package_is_named_with_its_pip_line(monkeypatch, scheme, package):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StorageError, match=f"pip install {package}"):
        check_address(f"{scheme}://bucket/run")


def test_places_beside_addresses_and_paths():
    assert joined("s3://b/f", "x.png") == "s3://b/f/x.png" and joined("f", "x.png") == "f/x.png"
    assert joined("f", "s3://b/x.png") == "s3://b/x.png" and joined("s3://b/f", "/x.png") == "/x.png"
    assert folder_of("s3://b/f/x.png") == "s3://b/f" and folder_of("f/x.png") == "f"
    assert absolute("s3://b/x") == "s3://b/x" and Path(absolute("x")).is_absolute()
