"""Flags to one function per mode, and every expected mistake to one line on stderr."""

from __future__ import annotations

import importlib
import sys

from absl import app, flags, logging

from .tools import status_of

MODES = ("sample", "convert", "train", "tokenize")

flags.DEFINE_enum("mode", "sample", MODES, "What to do.", module_name="all modes")


class UsageError(ValueError):
    """Flags that do not go together; the message is one line."""


def run(argv: list[str]) -> int:
    """Parse ``argv`` and run its mode; returns the exit status."""
    for mode in MODES:
        importlib.import_module(f".{mode}", __package__)  # defines the mode's flags
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
        return app.parse_flags_with_usage(argv)
    except (ValueError, OSError, AttributeError, KeyError) as error:  # from a --config file, or a field it does not have
        cause = error.args[0] if error.args and isinstance(error.args[0], KeyError) else error  # as ml_collections wraps it
        reason = " ".join(str(cause.args[0] if isinstance(cause, KeyError) else cause).split())
        what = "the --config file has no field " if isinstance(error, AttributeError | KeyError) else ""
        print(f"error: {what}{reason}", file=sys.stderr)
        raise SystemExit(1) from error


def _dispatch(rest: list[str]) -> int:
    mode = flags.FLAGS.mode
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # libraries report every file they open at INFO
    return status_of(lambda: _run_mode(mode, rest))


def _run_mode(mode: str, rest: list[str]) -> None:
    if len(rest) > 1:
        raise UsageError(f"unexpected argument {rest[1]!r}; every setting is a flag, --name=value")
    importlib.import_module(f".{mode}", __package__).main()
