"""Flags to one function per mode, and every expected mistake to one line on stderr."""

from __future__ import annotations

import importlib
import sys
import warnings
from types import ModuleType

from absl import app, flags, logging

from ..errors import UsageError
from ..exit_status import status_of
from ..extensions import trust
from .compiled import keep_compiled
from .help import check_taken, unknown_flag, usage
from .setting_flags import spell, with_todays_names

# Mode: the module of this package that runs it.  It has main(), flags in groups of the mode's name, and in SHARED the names of others.
MODES = {
    "sample": "sample",
    "convert": "convert",
    "train": "train",
    "train_vqgan": "train_vqgan",
    "tokenize": "tokenize",
    "eval": "evaluate",
    "reduce_codebook": "reduce_codebook",
    "demo": "demo",
    "step_schedule": "step_schedule",
}

flags.DEFINE_enum("mode", "sample", list(MODES), "What to do.", module_name="all modes")


def run(argv: list[str]) -> int:
    """Parse ``argv`` and run its mode; returns the exit status."""
    modules = mode_modules()
    if any(argument in ("--help", "-help", "-h", "--helpshort") for argument in argv[1:]):
        modes = [argument for argument in argv[1:] if argument.startswith(("--mode=", "-mode="))]
        mode = modes[-1].partition("=")[2] if modes else None
        if mode is None or mode in MODES:
            print(usage(modules, mode))
            return 0
        argv = [argv[0], *modes]  # whose mistake is told below
    status = []
    try:
        app.run(lambda rest: status.append(dispatch(rest)), argv, flags_parser=parse)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else status[0] if status else 1
    return status[0] if status else 1


def mode_modules() -> dict[str, ModuleType]:
    """The module of every mode; importing it defines its flags."""
    return {mode: importlib.import_module(f".{name}", __package__) for mode, name in MODES.items()}


def parse(argv: list[str]) -> list[str]:
    """Set the flags from ``argv``; returns what is no flag.  A mistake is told in one line and ends the program with status 1."""
    try:
        return flags.FLAGS(with_todays_names(argv))
    except (flags.Error, ValueError, OSError, AttributeError, KeyError) as error:
        print(f"error: {_reason(error)}", file=sys.stderr)
        raise SystemExit(1) from error


def _reason(error: Exception) -> str:
    """Why the flags, or a --config file, cannot be taken, in one line."""
    if isinstance(error, flags.UnrecognizedFlagError):
        return unknown_flag(error.flagname)
    if isinstance(
        error, AttributeError | KeyError
    ):  # a field that the --config file does not have, as ml_collections wraps it
        cause = error.args[0] if error.args and isinstance(error.args[0], KeyError) else error
        return f"the --config file has no field {' '.join(str(cause.args[0] if isinstance(cause, KeyError) else cause).split())}"
    said = str(error)
    if "Traceback (most recent call last)" in said:  # from within a --config file: its last line is what went wrong
        said = "the --config file: " + said.strip().splitlines()[-1].partition(": ")[2]
    return " ".join(said.split())


def dispatch(rest: list[str]) -> int:
    """Run the mode that the flags name; returns the exit status.  ``rest``: what ``parse`` returned."""
    from .processes import fail_together  # here, so that --mode is the first flag of the help

    mode = flags.FLAGS.mode
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # libraries report every file they open at INFO
    return fail_together(lambda: status_of(lambda: _run_mode(mode, rest), spell))


def _run_mode(mode: str, rest: list[str]) -> None:
    if len(rest) > 1:
        raise UsageError(f"unexpected argument {rest[1]!r}; every setting is a flag, --name=value")
    modules = mode_modules()
    check_taken(modules, mode)
    keep_compiled()
    warnings.formatwarning = lambda message, *where, **more: (
        f"warning: {message}\n"
    )  # what, not from which line of ours
    trust(*flags.FLAGS.trust)
    modules[mode].main()
