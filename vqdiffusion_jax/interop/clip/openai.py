"""OpenAI's CLIP files (ViT-B-32.pt, a TorchScript archive) and state dicts of the same names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...config import ComputeConfig
from ...errors import CheckpointError, ConfigError
from ...lazy_tensor import LazyTensor
from ...models.clip import CLIPTextEncoder, CLIPVisionEncoder
from ...models.shapes import shapes_of
from ..engine import Ignore, Part, Report, apply, key
from ..files.torch_zip import open_checkpoint, weights_of
from .openai_rules import settings, text_config, text_rules, vision_config, vision_rules

CLIP_DTYPES = ("float32", "float16")


def keeps_dtype(clip_dtype: str, ours: str = "") -> Callable[[str], bool]:
    """Return the predicate of our paths that keep the dtype of the file.

    Raises ConfigError unless ``clip_dtype`` is one of CLIP_DTYPES.
    """
    if clip_dtype not in CLIP_DTYPES:
        raise ConfigError(f"clip_dtype is {clip_dtype!r}; allowed: {', '.join(CLIP_DTYPES)}")
    return lambda path: clip_dtype == "float16" and path.startswith(ours)


def text_part(tensors: Mapping[str, Any], prefix: str, *, ours: str = "", ignores: Sequence[Ignore] = ()) -> Part:
    """Return the text tower whose keys begin with ``prefix``; our paths begin with ``ours``."""
    return Part(dataclasses.asdict(text_config(tensors, prefix)), tensors, text_rules(prefix, ours), ignores)


def read_text(path: str | Path, *, label: str = "", ours: str = "") -> Part:
    """Read the text tower of an OpenAI file or state dict; ``label`` is put before every key.

    Raises CheckpointError if the file is neither.
    """
    tensors = {label + name: tensor for name, tensor in _read(path, None).items()}
    image_tower = Ignore(key(f"{label}visual.") + ".*", "the image tower, which conditions nothing")
    return text_part(tensors, label, ours=ours, ignores=(*settings(label), image_tower))


def load_openai_clip(
    path: str | Path, *, tree: Any = None, clip_dtype: str = "float32", compute: ComputeConfig = ComputeConfig()
) -> tuple[CLIPTextEncoder, CLIPVisionEncoder | None, Report]:
    """Load both towers of an OpenAI file.

    Args:
        path: ViT-B-32.pt, or a state dict of the same names with or without the image tower.
        tree: the content of the file, if it is open already.
        clip_dtype: "float32", or "float16" to keep matrices that the file has in float16.
        compute: dtypes of the modules.

    Returns:
        The text tower, the image tower (None if the file has none) and the report of every key.

    Raises:
        CheckpointError, ConfigError, ConversionError: one error that says what does not fit.
    """
    tensors, keep = _read(path, tree), keeps_dtype(clip_dtype)
    image_tensors = {name: tensor for name, tensor in tensors.items() if name.startswith("visual.")}
    text_tensors = {name: tensor for name, tensor in tensors.items() if name not in image_tensors}
    abstract = shapes_of(CLIPTextEncoder, text_config(text_tensors), compute)
    text, report = apply(text_rules(), settings(), text_tensors, abstract, keep_dtype=keep, what=str(path))
    if not image_tensors:
        return text, None, report
    abstract = shapes_of(CLIPVisionEncoder, vision_config(image_tensors), compute)
    image, seen = apply(vision_rules(), (), image_tensors, abstract, keep_dtype=keep, what=str(path))
    report.mapped += seen.mapped
    return text, image, report


def _read(path: str | Path, tree: Any) -> dict[str, LazyTensor]:
    tensors = weights_of(open_checkpoint(path) if tree is None else tree)
    if "token_embedding.weight" not in tensors:
        raise CheckpointError(
            f"{path} has no token_embedding.weight, so it is not an OpenAI CLIP; give ViT-B-32.pt or its state dict"
        )
    return tensors
