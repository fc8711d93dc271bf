"""Flags to one function per mode, and every expected mistake to one line on stderr."""

from __future__ import annotations

import importlib
import sys

from absl import app, flags, logging

from .tools import status_of

# Mode: the module of this package that runs it.
MODES = {
    "sample": "sample", "convert": "convert", "train": "train", "train_vqgan": "train_vqgan", "tokenize": "tokenize", "eval": "evaluate",
    "reduce_codebook": "reduce_codebook",
}  # fmt: skip

flags.DEFINE_enum("mode", "sample", list(MODES), "What to do.", module_name="all modes")


class UsageError(ValueError):
    """Flags that do not go together; the message is one line."""


def run(argv: list[str]) -> int:
    """Parse ``argv`` and run its mode; returns the exit status."""
    for module in MODES.values():
        importlib.import_module(f".{module}", __package__)  # defines the mode's flags
    if any(argument in ("--help", "-help", "-h", "--helpshort") for argument in argv[1:]):
        print(usage())
        return 0
    status = []
    try:
        app.run(lambda rest: status.append(_dispatch(rest)), argv, flags_parser=_parse)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else status[0] if status else 1
    return status[0] if status else 1


def usage() -> str:
    """Every flag of ours, grouped by mode, with its default."""
    lines = ["python main.py --mode=MODE [--flag=value ...]"]
    for group, members in flags.FLAGS.flags_by_module_dict().items():
        if group == "all modes" or group == "checkpoints" or group.startswith("mode "):
            lines += ["", f"{group}:"]
            for flag in members:
                default = "" if flag.default is None else f" [{flag.default_as_str}]".replace("'", "")
                lines.append(f"  --{flag.name:<18} {flag.help}{default}")
    return "\n".join(lines)


def _parse(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except (flags.Error, ValueError, OSError, AttributeError, KeyError) as error:
        print(f"error: {_reason(error)}", file=sys.stderr)
        raise SystemExit(1) from error


def _reason(error: Exception) -> str:
    """Why the flags, or a --config file, cannot be taken, in one line."""
    if isinstance(error, AttributeError | KeyError):  # a field that the --config file does not have, as ml_collections wraps it
        cause = error.args[0] if error.args and isinstance(error.args[0], KeyError) else error
        return f"the --config file has no field {' '.join(str(cause.args[0] if isinstance(cause, KeyError) else cause).split())}"
    said = str(error)
    if "Traceback (most recent call last)" in said:  # from within a --config file: its last line is what went wrong
        said = "the --config file: " + said.strip().splitlines()[-1].partition(": ")[2]
    return " ".join(said.split())


def _dispatch(rest: list[str]) -> int:
    from .processes import fail_together  # here, so that --mode is the first flag of the help

    mode = flags.FLAGS.mode
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # libraries report every file they open at INFO
    return fail_together(lambda: status_of(lambda: _run_mode(mode, rest)))


def _run_mode(mode: str, rest: list[str]) -> None:
    if len(rest) > 1:
        raise UsageError(f"unexpected argument {rest[1]!r}; every setting is a flag, --name=value")
    importlib.import_module(f".{MODES[mode]}", __package__).main()
