"""The names of what is drawn, the most recognisable first."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from ...errors import DataError
from ...user_files import lines_of, read_text

EMBEDDED = 16  # the first so many are what the embedded model draws


def all_concepts() -> list[str]:
    """Return the lines of concepts.txt: CLDR names, everyday things that look like nothing else first."""
    return files("vqdiffusion_jax.data.scenes").joinpath("concepts.txt").read_text(encoding="utf-8").splitlines()


def choose_concepts(wanted: int | str | Sequence[str]) -> list[str]:
    """Lower-case names: the first ``wanted`` of concepts.txt (0: all), the lines of a file, or the names given.

    Raises DataError if there are fewer than two, or one is named twice.
    """
    if isinstance(wanted, int):
        known = all_concepts()
        if not 0 <= wanted <= len(known):
            raise DataError(
                f"concepts is {wanted}; it must be 0 (all) or a number up to {len(known)}, a file, or a list of names"
            )
        names = known[: wanted or None]
    elif isinstance(wanted, str):
        try:
            names = [line.strip() for line in lines_of(read_text(wanted)) if line.strip()]
        except (OSError, ValueError) as error:
            raise DataError(f"concepts is {wanted!r}, which is no file of names that can be read ({error})") from error
    else:
        names = list(wanted)
    names = [name.lower() for name in names]
    if len(names) < 2 or len(set(names)) < len(names):
        raise DataError(
            f"concepts names {len(names)} things, {len(set(names))} of them different; "
            "at least two are needed, each once"
        )
    return names
