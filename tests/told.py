"""Which of the warnings that a test has recorded belong to the call under test."""

import os
from collections.abc import Iterable
from warnings import WarningMessage

import pytest

# They name whatever line ran when the collector met another test's open file, or a thread could not raise.
OF_ANY_LINE = (ResourceWarning, pytest.PytestWarning)
OF_LIBRARIES = (DeprecationWarning, PendingDeprecationWarning)  # Python shows users those of their own code alone
PACKAGE = f"{os.sep}vqdiffusion_jax{os.sep}"
JAX_CACHE = "persistent compilation cache"  # two processes of tests may write one entry at once, and JAX says so


def own(told: Iterable[WarningMessage]) -> list[WarningMessage]:
    """The warnings that the call gave, in order, as a user would see them.

    What is recorded is of the whole process: the collector may meet an earlier test's open socket meanwhile, or a
    thread a closed loop.
    """
    return [one for one in told if not _of_others(one)]


def _of_others(one: WarningMessage) -> bool:
    if issubclass(one.category, OF_LIBRARIES):
        return PACKAGE not in one.filename
    return issubclass(one.category, OF_ANY_LINE) or JAX_CACHE in str(one.message)
