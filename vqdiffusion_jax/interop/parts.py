"""Codecs and CLIP towers from wherever they lie: foreign files as their own tensors, folders as modules already filled."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..models.clip import CLIPTextEncoder
from ..models.codebook_reduction import CodebookReduction
from ..models.vqgan import VQGAN
from ..native import read_clip_folder, read_codec_folder
from ..paths import leaves_by_path
from .codecs import CodecSource, read_codec
from .huggingface_clip import read_clip as read_huggingface_clip
from .kinds import HUGGINGFACE_CLIP, kind_of_folder
from .openai_clip import TextSource, read_clip
from .table import Ignore, Rule, key


@dataclass(frozen=True)
class FilledPart:
    """A codec or text tower that is filled, in the place of a CodecSource or TextSource."""

    module: VQGAN | CLIPTextEncoder
    label: str  # what is put before our paths
    notes: tuple[str, ...] = ()
    ignores: tuple[Ignore, ...] = ()

    @cached_property
    def _leaves(self) -> dict[str, Any]:
        # The tables of kept codes go with the model, which may come with a file of its own.
        return {
            path: leaf for path, leaf in leaves_by_path(self.module).items() if path not in CodebookReduction._fields
        }

    @cached_property
    def tensors(self) -> Mapping[str, Any]:
        return {self.label + path: np.asarray(leaf) for path, leaf in self._leaves.items()}

    def sizes(self) -> dict[str, Any]:
        sizes = dataclasses.asdict(self.module.config)
        sizes.pop("reduced_codebook_size", None)
        return sizes

    def rules(self, ours: str = "") -> list[Rule]:
        return [Rule(key(self.label + path), ours + path) for path in self._leaves]

    @property
    def reduction(self) -> CodebookReduction | None:
        """The codes that a codec folder keeps, if it says so."""
        if getattr(self.module, "full_to_reduced", None) is None:
            return None
        return CodebookReduction(*(np.asarray(getattr(self.module, name)[...]) for name in CodebookReduction._fields))


def codec_source(path: str | Path) -> CodecSource | FilledPart:
    """A codec file of any layout, or a native codec folder.  Raises CheckpointError, one line, for anything else."""
    path = Path(path)
    return FilledPart(read_codec_folder(path).codec, _label(path)) if path.is_dir() else read_codec(path, _label(path))


def clip_source(path: str | Path) -> TextSource | FilledPart:
    """The text tower of an OpenAI file, a Hugging Face folder or a native one.  Raises CheckpointError, one line, for anything else."""
    path = Path(path)
    if not path.is_dir():
        return read_clip(path, _label(path))
    if kind_of_folder(path) == HUGGINGFACE_CLIP:
        towers = read_huggingface_clip(path)
        text, notes = towers.text, tuple(towers.report.notes)
    else:
        text, notes = read_clip_folder(path).text_encoder, ()
    if text is None:
        raise CheckpointError(f"{path} has no text tower; give a CLIP that has one, such as ViT-B-32.pt")
    return FilledPart(text, _label(path), notes)


def _label(path: Path) -> str:
    return f"{path.name}: "
