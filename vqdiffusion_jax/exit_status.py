"""Exit statuses of commands: an error becomes one line on stderr, whatever it is."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable

from .errors import ConversionError, SettingError, one_line, shortened
from .storage.scratch import as_typed

INTERRUPTED = 130  # the status that shells give a process ended by Ctrl-C
PIPE_CLOSED = 141  # and one whose reader has gone, as of ``| head``
_LONGEST = 2000  # characters of the line
_LONGEST_WORD = 300  # more than a path or a list of names has
_LONG_WORD = re.compile(rf"\S{{{_LONGEST_WORD + 1},}}")
_ERRORS = SettingError.__module__
_USE_LESS = (
    "draw fewer pictures at a time (--batch_size) or in fewer bits (--dtype=bfloat16); "
    "in training, more rounds (--config.accumulation) or more devices a copy (--config.mesh.fsdp)"
)


def exit_with_status(main: Callable[[], None]) -> None:
    """Run ``main`` and exit with its ``status_of``."""
    sys.exit(status_of(main))


def status_of(main: Callable[[], None], spell: Callable[[str], str] = str, *, debug: bool = False) -> int:
    """Run ``main`` and return 0; after an error, told as ``error: ...`` on stderr, 1; after Ctrl-C, 130.

    spell: the spelling of a setting's name where it was typed.
    debug: print the traceback too.
    """
    try:
        main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except Exception as error:
        if debug:
            _say(traceback.format_exc().rstrip())
        if isinstance(error, BrokenPipeError) and error.filename is None:
            _give_up_output()
            return PIPE_CLOSED
        if isinstance(error, OSError):
            _give_up_output()
        _say(f"error: {told(error, spell)}")
        return 1
    return 0


def told(error: Exception, spell: Callable[[str], str] = str) -> str:
    """Return one line about any exception; of one that nobody foresaw, it names a file with the traceback."""
    said = describe(error, spell)
    if said is None:
        said = f"{type(error).__name__}: {shortened(one_line(error), 500)}"
        said = f"{said} (please report; {_kept(error)})"
    elif getattr(error, "__notes__", None) and isinstance(error, ConversionError):
        said = f"{said} (--debug lists all)"
    words = _LONG_WORD.sub(lambda word: shortened(word[0], _LONGEST_WORD), one_line(as_typed(said)))
    return shortened(words, _LONGEST)


def describe(error: Exception, spell: Callable[[str], str] = str) -> str | None:
    """Return one line about an error that a user can do something about, or None for a bug of the package."""
    if isinstance(error, SettingError):
        return error.told(spell)
    if isinstance(error, MemoryError):
        return f"out of memory; {_USE_LESS}"
    if isinstance(error, RuntimeError):
        return _device_error(error)
    if isinstance(error, OSError):
        reason = error.strerror or str(error) or type(error).__name__
        return f"{os.fsdecode(error.filename)}: {reason}" if isinstance(error.filename, str | bytes) else reason
    if isinstance(error, ValueError) and (type(error).__module__ == _ERRORS or _raised_here(error)):
        return str(error)
    return None


def _raised_here(error: Exception) -> bool:
    """Return whether the package itself, or the command, raised the exception, and no library that they call."""
    places = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    in_library = any(name in places[-1] for name in ("site-packages", "/lib/python")) if places else False
    return not in_library or "vqdiffusion_jax" in places[-1]


def _device_error(error: RuntimeError) -> str | None:
    """Return one line about an error of the device, or None for any other RuntimeError."""
    if "jax" not in sys.modules:
        return None
    import jax

    if not isinstance(error, jax.errors.JaxRuntimeError):
        return None
    first = (str(error).splitlines() or [""])[0]
    if "RESOURCE_EXHAUSTED" in first or "out of memory" in first.lower():
        return f"out of device memory; {_USE_LESS}: {shortened(first, 300)}"
    return f"the device failed: {shortened(first, 500)}"


def _kept(error: Exception) -> str:
    """Write the traceback to a temporary file and return where it is, or how to see it."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="vqdiffusion-error-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            traceback.print_exception(error, file=file)
    except Exception:  # no folder for temporary files, or a full disk
        return "--debug shows where"
    return f"details in {file.name}"


def _say(line: str) -> None:
    """Print on stderr, if anybody is there to read it."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(line.encode("utf-8", "backslashreplace").decode() + "\n")
        sys.stderr.flush()


def _give_up_output() -> None:
    """Make stdout go nowhere if it cannot be written to, so that Python does not complain about it at its end."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
