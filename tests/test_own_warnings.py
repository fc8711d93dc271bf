"""What counts as a call's own warning in tests that count them."""

from warnings import WarningMessage

import pytest

from tests.told import own

HERE, LIBRARY = "/a/vqdiffusion_jax/checkpoint.py", "/a/site-packages/orbax/handlers.py"


@pytest.mark.parametrize(
    ("message", "file", "counts"),
    [
        (UserWarning("rounded"), HERE, True),
        (UserWarning("rounded"), __file__, True),  # as the caller's line
        (DeprecationWarning("old"), HERE, True),
        (DeprecationWarning("old"), LIBRARY, False),
        (ResourceWarning("unclosed socket"), HERE, False),  # met by the collector while this line ran
        (pytest.PytestUnraisableExceptionWarning("Event loop is closed"), LIBRARY, False),
        (UserWarning("Error reading persistent compilation cache entry"), LIBRARY, False),
    ],
)
def test_a_calls_own_warnings(message, file, counts):
    told = [WarningMessage(message, type(message), file, 1)]
    assert own(told) == (told if counts else [])
