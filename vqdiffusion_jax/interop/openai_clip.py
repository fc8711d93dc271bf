"""OpenAI's CLIP files (ViT-B-32.pt: a TorchScript archive) and state dicts of the same names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import ComputeConfig
from ..errors import CheckpointError, ConfigError
from ..models.clip import CLIPTextEncoder, CLIPVisionEncoder
from ..models.shapes import shapes_of
from .clip_rules import settings, text_config, text_rules, vision_config, vision_rules
from .table import Ignore, Report, Rule, apply, key
from .torch_zip import open_checkpoint, state_dict

CLIP_DTYPES = ("float32", "float16")


@dataclass(frozen=True)
class TextSource:
    """A text tower's tensors in some file, under that file's names."""

    tensors: Mapping[str, Any]
    prefix: str
    ignores: tuple[Ignore, ...] = ()

    def sizes(self) -> dict[str, Any]:
        return dataclasses.asdict(text_config(self.tensors, self.prefix))

    def rules(self, ours: str = "") -> list[Rule]:
        return text_rules(self.prefix, ours)


def keeps_dtype(clip_dtype: str, ours: str = ""):
    """Which of our paths keep the dtype they have in the file.  Raises ConfigError unless ``clip_dtype`` is one of CLIP_DTYPES."""
    if clip_dtype not in CLIP_DTYPES:
        raise ConfigError(f"clip_dtype is {clip_dtype!r}; allowed: {', '.join(CLIP_DTYPES)}")
    return lambda path: clip_dtype == "float16" and path.startswith(ours)


def read_clip(path: str | Path, label: str = "") -> TextSource:
    """The tensors of an OpenAI file or state dict; ``label`` is put before every key.  Raises CheckpointError if it is neither."""
    tree = open_checkpoint(path)
    if isinstance(tree, Mapping) and isinstance(tree.get("state_dict"), Mapping):
        tree = tree["state_dict"]
    tensors = state_dict(tree)
    if "token_embedding.weight" not in tensors:
        raise CheckpointError(
            f"{path} has no token_embedding.weight, so it is not an OpenAI CLIP; give ViT-B-32.pt or its state dict"
        )
    ignores = (*settings(label), Ignore(key(f"{label}visual.") + ".*", "the image tower, which conditions nothing"))
    return TextSource({label + name: tensor for name, tensor in tensors.items()}, label, ignores)


def load_openai_clip(
    path: str | Path, *, clip_dtype: str = "float32", compute: ComputeConfig = ComputeConfig()
) -> tuple[CLIPTextEncoder, CLIPVisionEncoder | None, Report]:
    """Both towers of an OpenAI file.

    Args:
        path: ViT-B-32.pt, or a state dict of the same names with or without the image tower.
        clip_dtype: "float32", or "float16" to keep matrices that the file has in float16.
        compute: dtypes of the modules.

    Returns:
        The text tower, the image tower (None if the file has none) and what became of every key.

    Raises:
        CheckpointError, ConfigError, ConversionError: one error that says what does not fit.
    """
    source = read_clip(path)
    keep = keeps_dtype(clip_dtype)
    pictures = {name: tensor for name, tensor in source.tensors.items() if name.startswith("visual.")}
    text = shapes_of(CLIPTextEncoder, text_config(source.tensors), compute)
    rest = {name: tensor for name, tensor in source.tensors.items() if name not in pictures}
    text, report = apply(text_rules(), settings(), rest, text, keep_dtype=keep, what=str(path))
    if not pictures:
        return text, None, report
    vision = shapes_of(CLIPVisionEncoder, vision_config(pictures), compute)
    vision, seen = apply(vision_rules(), (), pictures, vision, keep_dtype=keep, what=str(path))
    report.mapped += seen.mapped
    return text, vision, report
