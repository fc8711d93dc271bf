"""A bucket of each kind for the tests of this folder."""

import pytest

from tests.storage.buckets import SCHEMES, new_folder, served


@pytest.fixture(scope="session", params=SCHEMES)
def scheme(request):
    """A scheme whose bucket is served while the test runs."""
    with served(request.param):
        yield request.param


@pytest.fixture
def folder(scheme):
    """The address of a new folder in the bucket."""
    return new_folder(scheme)
