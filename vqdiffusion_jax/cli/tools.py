"""Readers of flags that several modes share."""

from __future__ import annotations

from pathlib import Path


def read_prompts(file: str) -> list[str]:
    """Return the prompts of --prompts_file, one a line.

    Raises ValueError for a file that cannot be read or holds none.
    """
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"byte {error.start} is not UTF-8"
        raise ValueError(f"--prompts_file={file} cannot be read: {reason}; give a text file in UTF-8") from error
    prompts = [line for line in lines if line.strip()]
    if not prompts:
        raise ValueError(f"--prompts_file={file} holds no prompt; write one a line")
    return prompts


def part_of(text: str) -> tuple[int, int]:
    """Return --part=i/n as (i, n).  Raises ValueError for any other text."""
    part, slash, parts = text.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and int(part) < int(parts)):
        raise ValueError(f"--part={text} is not i/n with i from 0 to n - 1, for instance 0/4")
    return int(part), int(parts)
