"""A bucket of each kind for the tests of this folder."""

import sys

import pytest

from tests.in_process import left_as_it_was
from tests.storage.buckets import SCHEMES, new_folder, served
from vqdiffusion_jax.cli import run


@pytest.fixture(scope="session", params=SCHEMES)
def scheme(request):
    """A scheme whose bucket is served while the test runs."""
    with served(request.param):
        yield request.param


@pytest.fixture
def folder(scheme):
    """The address of a new folder in the bucket."""
    return new_folder(scheme)


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """A function that runs a command line in an empty folder and returns status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["main.py", *arguments])
        with left_as_it_was():
            status = run(sys.argv)
        said = capsys.readouterr()
        return status, said.out, said.err

    return call
