"""``--lora``: adapters that are added to the denoiser's weights, from their files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from ..errors import ConfigError, UsageError
from ..storage import addresses

if TYPE_CHECKING:
    from ..config import ModelConfig
    from ..models.lora import LoRA
    from ..pipeline import VQDiffusionPipeline

flags.DEFINE_multi_string(
    "lora",
    [],
    "A file of a LoRA, as training with lora.rank writes it, and its weight if that is not 1: FILE or FILE:0.7; repeat "
    "for several.",
    module_name="checkpoints",
)

FLAGS = flags.FLAGS


def divided(text: str) -> tuple[str, float]:
    """Return file and weight of FILE or FILE:WEIGHT.  Raises UsageError for a weight that is infinite or NaN."""
    file, colon, last = text.rpartition(":")
    try:
        weight = float(last) if colon else 1.0
    except ValueError:  # a colon of the file's name
        return text, 1.0
    if not math.isfinite(weight):
        raise UsageError(f"--lora={text}: the weight must be a finite number")
    return (file, weight) if colon else (text, weight)


def absolute(text: str) -> str:
    """Return FILE or FILE:WEIGHT with an absolute path."""
    file, _ = divided(text)
    return addresses.absolute(file) + text[len(file) :]


def named(text: str) -> str:
    """Return FILE or FILE:WEIGHT without the file's folder, for people elsewhere."""
    file, _ = divided(text)
    return Path(file).name + text[len(file) :]


def read(config: ModelConfig) -> list[tuple[LoRA, float]]:
    """Return the adapters of --lora and their weights.

    Raises CheckpointError or ConfigError, one line, for a file that cannot be read or does not go with ``config``.
    """
    if not FLAGS.lora:
        return []
    from ..lora_files import read_lora
    from ..models.denoiser import Denoiser
    from ..models.lora import check_fits
    from ..models.shapes import shapes_of

    found, denoiser = [], shapes_of(Denoiser, config.denoiser)
    for text in FLAGS.lora:
        file, weight = divided(text)
        lora = read_lora(file)
        try:
            check_fits(lora, denoiser)
        except ConfigError as error:
            raise UsageError(f"--lora={text}: {error}") from error
        found.append((lora, weight))
    return found


def use(pipeline: VQDiffusionPipeline, adapters: list[tuple[LoRA, float]]) -> None:
    """Add the adapters to the pipeline's weights."""
    if adapters:
        pipeline.use_loras(adapters)
