"""Which of the warnings that a test has recorded belong to the call under test."""

import os
from collections.abc import Iterable
from warnings import WarningMessage

import pytest

# Python shows users none of these of libraries' own, and pytest's are of what other threads could not raise.
HIDDEN = (ResourceWarning, DeprecationWarning, PendingDeprecationWarning, pytest.PytestWarning)
PACKAGE = f"{os.sep}vqdiffusion_jax{os.sep}"  # none of its own is hidden
JAX_CACHE = "persistent compilation cache"  # two processes of tests may write one entry at once, and JAX says so


def own(told: Iterable[WarningMessage]) -> list[WarningMessage]:
    """The warnings that the call gave, in order, as a user would see them.

    What is recorded is of the whole process: the collector may meet an earlier test's open socket meanwhile, or a
    thread a closed loop.
    """
    return [
        one
        for one in told
        if PACKAGE in one.filename or not issubclass(one.category, HIDDEN) and JAX_CACHE not in str(one.message)
    ]
