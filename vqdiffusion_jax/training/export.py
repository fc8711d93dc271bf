"""The end of a run: what was trained, as a native folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import jax

from ..loading import write_folder
from ..text.tokenizer import Tokenizer


def export(folder: Path, model: Any, tokenizer: Tokenizer | None, step: int) -> list[str]:
    """Write ``model``, on a mesh of all processes, all of which call this, to ``folder / "model"``; returns lines for people.

    One of an earlier end of the run is replaced.
    """
    place = folder / "model"
    if jax.process_index() == 0:
        for earlier in (place, *folder.glob(".model.*")):  # the latter if a run was killed while it wrote one
            shutil.rmtree(earlier, ignore_errors=True)
    if jax.process_count() > 1:
        from jax.experimental.multihost_utils import sync_global_devices

        sync_global_devices("the earlier model folder is gone")
    write_folder(place, model, tokenizer, provenance=f"Trained for {step} steps.")
    return [f"written: {place}"]
