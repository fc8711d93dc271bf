"""What a picture's JSON says, and ``--again``, which reads it back as flags."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from absl import flags

from ..embedded import is_embedded

FLAGS = flags.FLAGS

_GROUPS = ("mode sample: what", "mode sample: strategy")
_NOT_RECORDED = ("prompts_file", "again")  # of those groups
_OTHERS = (
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
    "rounding",
    "batch_size",
    "mesh",
)
_OF_EACH = (
    "prompt",
    "class_label",
    "num_images",
    "first_image",
)  # which the record of each picture adds to that of the run
_BESIDE = ("image", "mask")  # which may be named from the folder of the JSON
_PATHS = ("checkpoint", "image", "mask", "reference_config", "codec_config", "mapping", "codec", "clip")
_ABOUT = ("mode", "version")  # in the JSON, and not flags to set


def flag_names() -> list[str]:
    """The flags that a picture depends on."""
    modules = FLAGS.flags_by_module_dict()
    return [flag.name for group in _GROUPS for flag in modules[group] if flag.name not in _NOT_RECORDED] + list(_OTHERS)


def record(**settled: Any) -> dict[str, Any]:
    """Every setting that the run's pictures share, under the names of the flags: those given, and ``settled`` where not None.

    Paths are absolute, so that the JSON works from anywhere.
    """
    names = [name for name in flag_names() if name not in _OF_EACH]
    values = {name: FLAGS[name].value for name in names if FLAGS[name].value != FLAGS[name].default}
    values |= {name: value for name, value in settled.items() if value is not None}
    for name in _PATHS:
        if name in values:
            values[name] = str(values[name] if is_embedded(values[name]) else Path(values[name]).absolute())
    return {"mode": "sample"} | values


def take_flags_from(file: Path) -> None:
    """Set every flag that a picture's JSON names and the command line does not.  Raises ValueError, one line."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or f"it is not JSON ({error})"
        raise ValueError(f"--again={file} cannot be read: {reason}; give the JSON beside a picture") from error
    if not isinstance(values, dict) or values.get("mode", "sample") != "sample":
        raise ValueError(f"--again={file} is not about a picture; give the JSON beside one")
    allowed = flag_names()
    for name, value in values.items():
        if name in _ABOUT:
            continue
        if name not in allowed:
            raise ValueError(f"--again={file}: {name!r} is no setting of a picture; give the JSON beside one")
        if name in _BESIDE and isinstance(value, str):
            value = str(file.parent / value)
        if not FLAGS[name].present:
            _set(file, name, value)


def _set(file: Path, name: str, value: Any) -> None:
    """Give the flag the value through its own parser, as if it had been typed."""
    flag = FLAGS[name]
    several = isinstance(flag, flags.MultiFlag)
    listed = isinstance(flag.parser, flags.ListParser)
    items = value if isinstance(value, list) and (several or listed) else [value]
    kind = bool if flag.boolean else int | float if "int" in flag.flag_type() or "float" in flag.flag_type() else str
    if not items or not all(isinstance(item, kind) and isinstance(item, bool) == (kind is bool) for item in items):
        raise ValueError(f"--again={file}: {name} is {json.dumps(value)}, which --{name} does not take")
    texts = [str(item).lower() if kind is bool else str(item) for item in items]
    try:
        flag.parse(texts if several else ",".join(texts) if listed else texts[0])
    except (flags.Error, ValueError) as error:
        raise ValueError(f"--again={file}: {' '.join(str(error).split())}") from error
