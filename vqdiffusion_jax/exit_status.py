"""Exit statuses of commands: an expected error becomes one line on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable

from .errors import SettingError

INTERRUPTED = 130  # the status that shells give a process ended by Ctrl-C
_USE_LESS = (
    "draw fewer pictures at a time (--batch_size) or in fewer bits (--dtype=bfloat16); "
    "in training, more rounds (--config.accumulation) or more devices a copy (--config.mesh.fsdp)"
)


def exit_with_status(main: Callable[[], None]) -> None:
    """Run ``main`` and exit with its ``status_of``."""
    sys.exit(status_of(main))


def status_of(main: Callable[[], None], spell: Callable[[str], str] = str) -> int:
    """Run ``main`` and return 0; after an expected error, told as ``error: ...`` on stderr, 1; after Ctrl-C, 130.

    spell: the spelling of a setting's name where it was typed.
    """
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, OSError, MemoryError, RuntimeError) as error:  # every exception of errors.py is a ValueError
        said = describe(error, spell)
        if said is None:
            raise
        print(f"error: {said}", file=sys.stderr)
        return 1
    return 0


def describe(error: Exception, spell: Callable[[str], str] = str) -> str | None:
    """Return one line about an expected error, or None for a bug of the package, which needs its traceback."""
    if isinstance(error, SettingError):
        return error.told(spell)
    if isinstance(error, MemoryError):
        return f"out of memory; {_USE_LESS}"
    if isinstance(error, RuntimeError):
        return _device_error(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    return str(error)


def _device_error(error: RuntimeError) -> str | None:
    """Return one line about an error of the device, or None for any other RuntimeError."""
    import jax

    if not isinstance(error, jax.errors.JaxRuntimeError):
        return None
    first = (str(error).splitlines() or [""])[0]
    if "RESOURCE_EXHAUSTED" in first or "out of memory" in first.lower():
        return f"out of device memory; {_USE_LESS}: {first}"
    return f"the device failed: {first}"
