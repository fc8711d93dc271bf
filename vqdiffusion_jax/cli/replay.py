"""``--again``: flags and settings from the JSON beside a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from absl import flags

from ..errors import UsageError, one_line, shown
from ..hub import is_name
from ..recipe import ORIGIN, settings_of_recipe
from ..sampling.settings import SamplingSettings
from ..user_files import read_json

FLAGS = flags.FLAGS

_MOST_BYTES = 2**20  # of the JSON beside a picture

_PATHS = ("checkpoint", "reference_config", "codec_config", "mapping", "codec", "clip")


def origin(**settled: Any) -> dict[str, Any]:
    """Return the origin of the run's model: the flags given, and in their place those of ``settled`` that are not None.

    Paths are absolute, so that the JSON can be read in any folder; names of models stay as they are.
    """
    values: dict[str, Any] = {name: FLAGS[name].value for name in ORIGIN if FLAGS[name].value != FLAGS[name].default}
    values |= {name: value for name, value in settled.items() if value is not None}
    for name in _PATHS:
        if name in values:
            values[name] = str(values[name] if is_name(values[name]) else Path(values[name]).absolute())
    return values


def take_again(file: Path) -> SamplingSettings:
    """Set the flags of origin of a picture's JSON, unless they are given, and return its settings.

    Raises UsageError, one line that names the file, for a file that is not such a JSON.
    """
    try:
        table = read_json(file, most=_MOST_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"--again={file} cannot be read: {reason}; give the JSON beside a picture") from error
    if not isinstance(table, dict) or table.get("mode", "sample") != "sample":
        raise UsageError(f"--again={file} is not about a picture; give the JSON beside one")
    for name in ORIGIN:
        if name in table and not FLAGS[name].present:
            _set(file, name, table[name])
    try:
        return settings_of_recipe(table, file.parent)
    except ValueError as error:
        raise UsageError(f"--again={file}: {error}") from error


def _set(file: Path, name: str, value: Any) -> None:
    """Set a flag through its own parser, as if the value had been typed."""
    flag = FLAGS[name]
    listed = isinstance(flag.parser, flags.ListParser) and isinstance(value, list)
    items: list[Any] = value if listed else [value]
    kind = bool if flag.boolean else str
    if not items or not all(isinstance(item, kind) for item in items):
        raise UsageError(f"--again={file}: {name} is {shown(value)}, which --{name} does not take")
    try:
        flag.parse(str(value).lower() if kind is bool else ",".join(items))
    except (flags.Error, ValueError) as error:
        raise UsageError(f"--again={file}: {one_line(error)}") from error
