"""``run``: parse the flags, run the module of their mode, and tell an expected error in one line on stderr."""

from __future__ import annotations

import importlib
from types import ModuleType

from absl import app, flags, logging

from ..errors import UsageError, one_line
from ..exit_status import status_of
from ..extensions import trust
from .addresses import addresses_served
from .compiled import keep_compiled
from .help import check_taken, command_of, refused_value, unknown_flag, usage
from .quiet import quiet_libraries
from .setting_flags import spell, with_todays_names

# Each mode's module in this package.  It has main(), defines its flags in groups named after the mode, and lists in
# SHARED the flags that it has in common with other modes.
MODES = {
    "sample": "sample",
    "fetch": "fetch",
    "convert": "convert",
    "train": "train",
    "train_vqgan": "train_vqgan",
    "tokenize": "tokenize",
    "inspect": "inspect",
    "eval": "evaluate",
    "reduce_codebook": "reduce_codebook",
    "demo": "demo",
    "serve": "serve",
    "compile": "compile_sampler",
    "step_schedule": "step_schedule",
    "flax_to_diffusers": "flax_to_diffusers",
    "env": "env",
}

flags.DEFINE_enum("mode", "sample", list(MODES), "What to do.", module_name="all modes")
flags.DEFINE_bool(
    "debug", False, "Print the traceback of an error, and all reports of libraries.", module_name="all modes"
)
flags.DEFINE_bool("version", False, "Print the version and do nothing else.", module_name="all modes")


def run(argv: list[str]) -> int:
    """Parse ``argv``, run its mode and return the exit status."""
    if any(argument in ("--version", "-version") for argument in argv[1:]):
        from .. import __version__

        print(f"vqdiffusion-jax {__version__}")
        return 0
    modules = mode_modules()
    if any(argument in ("--help", "-help", "-h", "--helpshort") for argument in argv[1:]):
        modes = [argument for argument in argv[1:] if argument.startswith(("--mode=", "-mode="))]
        mode = modes[-1].partition("=")[2] if modes else None
        if mode is None or mode in MODES:
            print(usage(modules, mode, command_of(argv[0])))
            return 0
        argv = [argv[0], *modes]  # an unknown mode, which parsing refuses
    status = []
    try:
        app.run(lambda rest: status.append(dispatch(rest)), argv, flags_parser=parse)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else status[0] if status else 1
    return status[0] if status else 1


def mode_modules() -> dict[str, ModuleType]:
    """Import and return the module of every mode, which defines its flags."""
    return {mode: importlib.import_module(f".{name}", __package__) for mode, name in MODES.items()}


def parse(argv: list[str]) -> list[str]:
    """Set the flags from ``argv`` and return the other arguments.

    A mistake is told in one line on stderr and ends the program with status 1.
    """
    debug = any(argument in ("--debug", "-debug", "--debug=true") for argument in argv)
    parsed: list[list[str]] = []

    def set_flags() -> None:
        if any(argument.lstrip("-").partition("=")[0] == "flagfile" for argument in argv[1:] if argument[:1] == "-"):
            # absl would read any file whole, and wait for a pipe.
            raise UsageError("--flagfile is not taken; write the flags on the command line")
        try:
            parsed.append(flags.FLAGS(with_todays_names(argv)))
        except (flags.Error, ValueError, OSError, AttributeError, KeyError) as error:
            raise UsageError(_reason(error, command_of(argv[0]))) from error

    if status := status_of(set_flags, debug=debug):
        raise SystemExit(status)
    return parsed[0]


def _reason(error: Exception, command: str) -> str:
    """Return one line about flags, or a --config file, that cannot be used."""
    if isinstance(error, flags.UnrecognizedFlagError):
        return unknown_flag(error.flagname, command)
    if isinstance(error, AttributeError | KeyError):  # ml_collections: no such field in the --config file
        cause = error.args[0] if error.args and isinstance(error.args[0], KeyError) else error
        return f"the --config file has no field {one_line(cause.args[0] if isinstance(cause, KeyError) else cause)}"
    if isinstance(error.__context__, UsageError):  # of the --config file, in absl's words around it
        error = error.__context__
    return refused_value(error)


def dispatch(rest: list[str]) -> int:
    """Run the mode that the flags name and return the exit status.

    rest: the program's name and the arguments that are no flags.
    """
    from .processes import fail_together  # imported here, so that --mode is the first flag of the help

    mode = flags.FLAGS.mode
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # libraries report every file they open at INFO
    debug = flags.FLAGS.debug
    if not debug:
        quiet_libraries()
    return fail_together(lambda: status_of(lambda: _run_mode(mode, rest), spell, debug=debug))


def _run_mode(mode: str, rest: list[str]) -> None:
    """Run the main function of a mode.  Raises UsageError for arguments and flags that the mode does not take."""
    if len(rest) > 1:
        raise UsageError(f"unexpected argument {rest[1]!r}; every setting is a flag, --name=value")
    modules = mode_modules()
    check_taken(modules, mode, command_of(rest[0]))
    keep_compiled()
    trust(*flags.FLAGS.trust)
    with addresses_served(mode):
        modules[mode].main()
