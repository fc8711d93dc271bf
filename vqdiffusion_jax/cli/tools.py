"""Readers of flags that several modes share."""

from __future__ import annotations

from typing import cast

from absl import flags

from ..errors import UsageError, one_line
from ..user_files import lines_of, read_text
from .prompt_table import is_table, place, read_table


def read_prompts(file: str) -> list[str]:
    r"""Return the prompts of --prompts_file, one a line; lines end at \n, \r\n or \r, and blank ones are left out.

    Of a table, its column prompt; a table with other settings is for --mode=sample.
    Raises ValueError for a file that cannot be read, is no UTF-8 text, or holds no prompt.
    """
    if is_table(file):
        return _prompts_of_table(file)
    try:
        lines = lines_of(read_text(file))
    except OSError as error:
        raise ValueError(
            f"--prompts_file={file} cannot be read: {error.strerror or error}; give a text file in UTF-8"
        ) from error
    except ValueError as error:
        raise ValueError(f"--prompts_file={one_line(error)}") from error
    prompts = [line.lstrip("\ufeff") for line in lines]  # a byte order mark again where files were joined
    prompts = [prompt for prompt in prompts if prompt.strip()]
    if not prompts:
        raise ValueError(f"--prompts_file={file} holds no prompt; write one a line")
    return prompts


def _prompts_of_table(file: str) -> list[str]:
    prompts = []
    for row in read_table(file):
        if set(row.fields) != {"prompt"}:
            told = f"it sets {', '.join(row.fields) or 'nothing'}; this mode takes a prompt a row, and no other setting"
            raise UsageError(f"{place(file, row.line)}: {told}")
        prompts.append(row.fields["prompt"])
    return prompts


def chosen_seed() -> int:
    """Return --seed, 0 if it is not given.  Raises SettingError for a number below 0 or above 2**63 - 1."""
    from ..sampling.seeds import checked_seed

    return cast(int, checked_seed(flags.FLAGS.seed or 0))  # a flag is never a key


def part_of(text: str) -> tuple[int, int]:
    """Return --part=i/n as (i, n).  Raises ValueError for any other text."""
    part, slash, parts = text.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and int(part) < int(parts)):
        raise ValueError(f"--part={text} is not i/n with i from 0 to n - 1, for instance 0/4")
    return int(part), int(parts)
