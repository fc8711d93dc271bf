"""The end of a run: the trained model as a native folder, and a trained LoRA as a file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import jax

from ..files import put_back, replace_folder
from ..loading import write_folder
from ..lora_files import FILE, write_lora
from ..models.lora import LoRA
from ..multihost import barrier
from ..text.known_words import KnownWords
from ..text.tokenizer import Tokenizer


def export(
    folder: Path, model: Any, tokenizer: Tokenizer | None, step: int, known_words: KnownWords | None = None
) -> list[str]:
    """Write ``model``, on a mesh of all processes, to ``folder / "model"`` and return lines for people.

    known_words: of the captions that it was trained on, if the data set knows them.

    All processes call this.  A folder of an earlier end of the run is replaced when the new one is whole; an error
    before that leaves it there.
    """
    place, beside, first = folder / "model", folder / ".model.new", jax.process_index() == 0
    if first:
        put_back(place)
        for unfinished in folder.glob(".model.*"):  # of a run that was killed while it wrote one
            shutil.rmtree(unfinished, ignore_errors=True)
    barrier("what an earlier export left is gone")
    try:  # under its final name, which its README tells
        trained = f"Trained for {step} steps."
        write_folder(beside / place.name, model, tokenizer, provenance=trained, known_words=known_words)
        if first:
            replace_folder(place, beside / place.name)
    finally:
        if first:
            shutil.rmtree(beside, ignore_errors=True)
    barrier("the exported model has its name")
    return [f"written: {place}"]


def export_lora(folder: Path, lora: LoRA, **about: Any) -> list[str]:
    """Write ``lora``, which every process holds whole, to a file in ``folder`` and return lines for people.

    about: as for ``lora_files.write_lora``.
    """
    if jax.process_index() == 0:
        write_lora(folder / FILE, lora, **about)
    return [f"written: {folder / FILE}"]
