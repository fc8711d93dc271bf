"""The JSON beside a picture, which ``--again`` reads: where the model came from, and the settings of the call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from absl import flags

from ..embedded import is_embedded
from ..sampling.settings import SamplingSettings

FLAGS = flags.FLAGS

# Flags besides the settings that a picture depends on.
ORIGIN = (
    "checkpoint",
    "reference_config",
    "codec_config",
    "mapping",
    "codec",
    "clip",
    "weights",
    "clip_weights",
    "clip_dtype",
    "dtype",
    "faithful",
    "mesh",
)
_PATHS = ("checkpoint", "reference_config", "codec_config", "mapping", "codec", "clip")
_PICTURES = ("image", "mask_image", "mask")  # settings that name a file, which may lie beside the JSON
_ABOUT = ("mode", "version")


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
    """Return the JSON beside a picture of these settings, flat, with absolute paths."""
    table = settings.to_dict()
    for name in _PICTURES:
        if name in table:
            table[name] = _map(lambda path: str(Path(path).absolute()), table[name])
    return {"mode": "sample"} | origin | table


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
    settings = {name: value for name, value in table.items() if name not in (*ORIGIN, *_ABOUT)}
    for name in _PICTURES:
        if name in settings:
            settings[name] = _map(
                lambda path: str(file.parent / path) if isinstance(path, str) else path, settings[name]
            )
    try:
        return SamplingSettings.from_dict(settings)
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


def _map(function: Any, value: Any) -> Any:
    return [function(one) for one in value] if isinstance(value, list) else function(value)
