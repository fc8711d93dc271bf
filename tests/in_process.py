"""Command lines in the process of their test, which they leave as it was."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from unittest import mock

import grain  # noqa: F401  defines a flag of its own, which must not be forgotten with those of a command
from absl.testing import flagsaver

from vqdiffusion_jax.cli.main import mode_modules


@contextlib.contextmanager
def left_as_it_was() -> Iterator[None]:
    """Put back flags, warnings, hooks, log handlers and their filters, which a command sets for good."""
    mode_modules()  # which defines the flags: those that are defined inside would be forgotten
    handlers = logging.getLogger().handlers
    filters = {handler: handler.filters[:] for handler in handlers}
    with (
        flagsaver.flagsaver(),
        warnings.catch_warnings(),
        mock.patch.object(warnings, "formatwarning", warnings.formatwarning),
        mock.patch.object(threading, "excepthook", threading.excepthook),
        mock.patch.object(sys, "unraisablehook", sys.unraisablehook),
    ):
        try:
            yield
        finally:
            for handler in handlers:  # absl's among them, which stands there since the command
                handler.filters[:] = filters.get(handler, [])
            handlers[:] = filters
