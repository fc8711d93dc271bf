"""The JSON beside a picture, which ``--again`` reads: where the model came from, and the settings of the call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from absl import flags

from ..embedded import is_embedded
from ..recipe import ORIGIN, settings_of_recipe, with_paths
from ..recipe import recipe as recipe_of_call
from ..sampling.settings import SamplingSettings

FLAGS = flags.FLAGS

_PATHS = ("checkpoint", "reference_config", "codec_config", "mapping", "codec", "clip")


def origin(**settled: Any) -> dict[str, Any]:
    """Return where the run's model comes from: the flags given, and ``settled`` where not None.

    Paths are absolute, so that the JSON works from anywhere.
    """
    values = {name: FLAGS[name].value for name in ORIGIN if FLAGS[name].value != FLAGS[name].default}
    values |= {name: value for name, value in settled.items() if value is not None}
    for name in _PATHS:
        if name in values:
            values[name] = str(values[name] if is_embedded(values[name]) else Path(values[name]).absolute())
    return values


def recipe(origin: dict[str, Any], settings: SamplingSettings) -> dict[str, Any]:
    """Return the JSON beside a picture of these settings, with absolute paths."""
    return with_paths(recipe_of_call(origin, settings), lambda path: str(Path(path).absolute()))


def take_again(file: Path) -> SamplingSettings:
    """Set the flags of origin that a picture's JSON names and the command line does not; return its settings.

    Raises ValueError, one line that names the file, for what is no such JSON.
    """
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or f"it is not JSON ({error})"
        raise ValueError(f"--again={file} cannot be read: {reason}; give the JSON beside a picture") from error
    if not isinstance(table, dict) or table.get("mode", "sample") != "sample":
        raise ValueError(f"--again={file} is not about a picture; give the JSON beside one")
    for name in ORIGIN:
        if name in table and not FLAGS[name].present:
            _set(file, name, table[name])
    try:
        return settings_of_recipe(table, file.parent)
    except ValueError as error:
        raise ValueError(f"--again={file}: {error}") from error


def _set(file: Path, name: str, value: Any) -> None:
    """Give the flag the value through its own parser, as if it had been typed."""
    flag = FLAGS[name]
    listed = isinstance(flag.parser, flags.ListParser) and isinstance(value, list)
    items = value if listed else [value]
    kind = bool if flag.boolean else str
    if not items or not all(isinstance(item, kind) for item in items):
        raise ValueError(f"--again={file}: {name} is {json.dumps(value)}, which --{name} does not take")
    try:
        flag.parse(str(value).lower() if kind is bool else ",".join(items))
    except (flags.Error, ValueError) as error:
        raise ValueError(f"--again={file}: {' '.join(str(error).split())}") from error
