"""``--again``: flags and settings from a picture's recipe, the JSON beside the picture or inside its PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from absl import flags

from ..errors import UsageError, shown
from ..hub import is_name
from ..pictures.png_text import SIGNATURE, read_png_text
from ..recipe import KEYWORD, ORIGIN, settings_of_recipe
from ..sampling.settings import SamplingSettings
from ..storage.addresses import absolute, folder_of
from ..user_files import open_regular, parse_json, read_json
from . import loras
from .help import refused_value

FLAGS = flags.FLAGS

_MOST_BYTES = 2**20  # of a recipe
_WHAT = "give the JSON beside a picture, or its PNG as it was written"

_PATHS = ("checkpoint", "reference_config", "codec_config", "mapping", "codec", "clip")


def origin(**settled: Any) -> dict[str, Any]:
    """Return the origin of the run's model: the flags given, and in their place those of ``settled`` that are not None.

    Paths are absolute, so that the JSON can be read in any folder; names of models stay as they are.
    """
    values: dict[str, Any] = {name: FLAGS[name].value for name in ORIGIN if FLAGS[name].value != FLAGS[name].default}
    values |= {name: value for name, value in settled.items() if value is not None}
    for name in _PATHS:
        if name in values:
            values[name] = values[name] if is_name(values[name]) else absolute(values[name])
    if "lora" in values:
        values["lora"] = [loras.absolute(text) for text in values["lora"]]
    return values


def take_again(file: str | Path) -> SamplingSettings:
    """Set the flags of origin of a picture's recipe, unless they are given, and return its settings.

    file: the JSON beside a picture, or its PNG, at a path or an address.
    Raises UsageError, one line that names the file, for a file that holds no recipe.
    """
    try:
        table = _recipe_in(file)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"--again={file} cannot be read: {reason}; {_WHAT}") from error
    if not isinstance(table, dict) or table.get("mode", "sample") != "sample":
        raise UsageError(f"--again={file} is not about a picture; {_WHAT}")
    for name in ORIGIN:
        if name in table and not FLAGS[name].present:
            _set(file, name, table[name])
    try:
        return settings_of_recipe(table, folder_of(file))
    except ValueError as error:
        raise UsageError(f"--again={file}: {error}") from error


def _recipe_in(file: str | Path) -> Any:
    """Return the value of a JSON file, or of the recipe inside a PNG.  Raises OSError or ValueError."""
    with open_regular(file) as opened:
        start = opened.read(12)
    if start.startswith(SIGNATURE):
        text = read_png_text(file, KEYWORD, most=_MOST_BYTES)
        if text is None:
            raise ValueError("this PNG carries no recipe, or another program has taken it out")
        return parse_json(text, "its recipe")
    if (kind := _picture_kind(start)) is not None:
        raise ValueError(f"it is a {kind}, which carries no recipe")
    return read_json(file, most=_MOST_BYTES)


def _picture_kind(start: bytes) -> str | None:
    """Return the format of a picture that is no PNG, from a file's first 12 bytes, or None."""
    if start.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if start[:4] == b"RIFF" and start[8:] == b"WEBP":
        return "WebP"
    if start.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    return "MP4" if start[4:8] == b"ftyp" else None


def _set(file: str | Path, name: str, value: Any) -> None:
    """Set a flag through its own parser, as if the value had been typed."""
    flag = FLAGS[name]
    repeated = isinstance(flag, flags.MultiFlag)
    listed = (repeated or isinstance(flag.parser, flags.ListParser)) and isinstance(value, list)
    items: list[Any] = value if listed else [value]
    kind = bool if flag.boolean else str
    if not items or not all(isinstance(item, kind) for item in items):
        raise UsageError(f"--again={file}: {name} is {shown(value)}, which --{name} does not take")
    try:
        flag.parse(items if repeated else str(value).lower() if kind is bool else ",".join(items))
    except (flags.Error, ValueError) as error:
        raise UsageError(f"--again={file}: {refused_value(error)}") from error
