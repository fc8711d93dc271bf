"""Folders that count as a whole by one file, their seal, which is put last and deleted first."""

from __future__ import annotations

import re

_CHECKPOINT = re.compile(r"((?:.*/)?checkpoints/\d+)/.*", re.DOTALL)
_WEIGHTS = re.compile(r"((?:.*/)?)(?:weights/.*|weights\.safetensors)", re.DOTALL)


def seal_of(name: str) -> str | None:
    """Return the file that makes the folder of a file count, None where each file counts for itself.

    A checkpoint counts by orbax's ``commit_success.txt``, a model folder by its ``config.json``.
    """
    if match := _CHECKPOINT.fullmatch(name):
        return f"{match[1]}/commit_success.txt"
    if match := _WEIGHTS.fullmatch(name):
        return f"{match[1]}config.json"
    return None
