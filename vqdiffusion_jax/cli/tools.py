"""What several commands do alike: an expected mistake becomes one line on stderr and an exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

INTERRUPTED = 130  # as shells count a process ended by Ctrl-C
_LESS = (
    "draw fewer pictures at a time (--batch_size) or in fewer bits (--dtype=bfloat16); "
    "in training, more rounds (--config.accumulation) or more devices a copy (--config.mesh.fsdp)"
)


def report_mistakes(main: Callable[[], None]) -> None:
    """Run ``main`` and leave with the status of ``status_of``."""
    sys.exit(status_of(main))


def status_of(main: Callable[[], None]) -> int:
    """Run ``main``: 0, or after ``error: ...`` on stderr 1, or 130 if interrupted."""
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except (
        ValueError,
        OSError,
        MemoryError,
        RuntimeError,
    ) as error:  # ConfigError, CheckpointError, ConversionError are ValueErrors
        said = describe(error)
        if said is None:
            raise
        print(f"error: {said}", file=sys.stderr)
        return 1
    return 0


def describe(error: Exception) -> str | None:
    """What went wrong and what to do about it; None for an error that is ours to mend, whose traceback is wanted."""
    if isinstance(error, MemoryError):
        return f"out of memory; {_LESS}"
    if isinstance(error, RuntimeError):
        return _of_device(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    return str(error)


def _of_device(error: RuntimeError) -> str | None:
    import jax

    if not isinstance(error, jax.errors.JaxRuntimeError):
        return None
    first = (str(error).splitlines() or [""])[0]
    if "RESOURCE_EXHAUSTED" in first or "out of memory" in first.lower():
        return f"out of device memory; {_LESS}: {first}"
    return f"the device failed: {first}"


def read_prompts(file: str) -> list[str]:
    """The prompts of --prompts_file, one a line.  Raises ValueError, naming it, for a file that cannot be read or holds none."""
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or f"byte {error.start} is not UTF-8"
        raise ValueError(f"--prompts_file={file} cannot be read: {reason}; give a text file in UTF-8") from error
    prompts = [line for line in lines if line.strip()]
    if not prompts:
        raise ValueError(f"--prompts_file={file} holds no prompt; write one a line")
    return prompts


def part_of(text: str) -> tuple[int, int]:
    """--part=i/n as (i, n)."""
    part, slash, parts = text.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and int(part) < int(parts)):
        raise ValueError(f"--part={text} is not i/n with i from 0 to n - 1, for instance 0/4")
    return int(part), int(parts)
