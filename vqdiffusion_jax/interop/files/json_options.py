"""JSON tables of Hugging Face style folders, and the checked options of a part's config.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import user_files
from ...errors import CheckpointError, ConversionError, brief, shown

MOST_BYTES = 16 * 2**20
LARGEST = 2**31 - 1


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON table.  Raises CheckpointError if the file is absent, unreadable or not a table."""
    try:
        values = user_files.read_json(path, most=MOST_BYTES)
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} does not exist; the folder must be a complete copy of the published one"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable JSON ({brief(error, 400)}); fetch it again") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} holds a {type(values).__name__}; it must be a JSON table")
    return values


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON table with sorted keys."""
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8", newline="\n")


@dataclass(frozen=True)
class JsonOptions:
    """The options of a part; ``where`` names the file in errors.

    Every getter raises ConversionError if the option is absent or is not of the getter's kind.
    """

    values: Mapping[str, Any]
    where: str

    @classmethod
    def read(cls, path: Path, defaults: Mapping[str, Any]) -> JsonOptions:
        """Read a file; options that it leaves out take ``defaults``, those of the library that wrote it."""
        return cls({**defaults, **read_json(path)}, str(path))

    def whole(self, name: str, *, at_least: int = 1) -> int:
        """Return a whole number."""
        value = self._get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not at_least <= value <= LARGEST:
            raise ConversionError(
                f"{self.where}: {name} is {shown(value)}; it must be a whole number from {at_least} to {LARGEST}"
            )
        return value

    def number(self, name: str) -> float:
        """Return a number."""
        value = self._get(name)
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        if not fits or not -LARGEST <= value <= LARGEST:  # no NaN either
            raise ConversionError(f"{self.where}: {name} is {shown(value)}; it must be a number")
        return float(value)

    def flag(self, name: str) -> bool:
        """Return the truth of an option."""
        return bool(self._get(name))

    def items(self, name: str, allowed: type | tuple[str, ...]) -> list:
        """Return a list whose entries are of the type given or among the words given."""
        values = self._get(name)
        fits = (
            (lambda v: isinstance(v, str) and v in allowed)
            if isinstance(allowed, tuple)
            else (lambda v: isinstance(v, allowed) and not isinstance(v, bool))
        )
        if not isinstance(values, list) or not values or not all(map(fits, values)):
            wanted = " and ".join(allowed) if isinstance(allowed, tuple) else allowed.__name__
            raise ConversionError(f"{self.where}: {name} is {shown(values)}; it must be a list of {wanted}")
        return values

    def require(self, name: str, *allowed: Any) -> Any:
        """Return the option's value, which must be one of ``allowed``."""
        value = self._get(name)
        if value not in allowed:
            raise ConversionError(
                f"{self.where}: {name}={shown(value)} is not supported; allowed: {', '.join(map(repr, allowed))}"
            )
        return value

    def _get(self, name: str) -> Any:
        if name not in self.values:
            raise ConversionError(f"{self.where}: {name} is missing; the file must be that of a VQ-Diffusion pipeline")
        return self.values[name]
