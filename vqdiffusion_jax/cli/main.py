"""Flags to one function per mode, and every expected mistake to one line on stderr."""

from __future__ import annotations

import importlib
import sys

from absl import app, flags, logging

MODES = ("sample", "convert")

flags.DEFINE_enum("mode", "sample", MODES, "What to do.", module_name="all modes")


class UsageError(ValueError):
    """Flags that do not go together; the message is one line."""


def run(argv: list[str]) -> int:
    """Parse ``argv`` and run its mode; returns the exit status."""
    for mode in MODES:
        importlib.import_module(f".{mode}", __package__)  # defines the mode's flags
    status = []
    try:
        app.run(lambda rest: status.append(_dispatch(rest)), argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else status[0] if status else 1
    return status[0] if status else 1


def _dispatch(rest: list[str]) -> int:
    mode = flags.FLAGS.mode
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # libraries report every file they open at INFO
    try:
        if len(rest) > 1:
            raise UsageError(f"unexpected argument {rest[1]!r}; every setting is a flag, --name=value")
        importlib.import_module(f".{mode}", __package__).main()
    except (ValueError, OSError) as error:  # ConfigError, CheckpointError, ConversionError are ValueErrors
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
