"""The kind of a file or folder, told by its content."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from ..errors import CheckpointError
from ..lazy_tensor import LazyTensor
from .codecs.part import IN_CHECKPOINT
from .files.json_options import read_json
from .files.torch_zip import open_checkpoint, weights_of
from .reference.denoiser import NETWORK

MODEL_FOLDER, DIFFUSERS, CHECKPOINT = "model folder", "diffusers folder", "training checkpoint"
CODEC, CLIP, HUGGINGFACE_CLIP = "codec", "CLIP", "Hugging Face CLIP folder"
VQ_MODEL = "codec folder of diffusers"


class Opened(NamedTuple):
    """A file or folder of a known kind; ``tree`` is the content of a file, so that it is read only once."""

    kind: str
    tree: Any = None


def kind_of(path: str | Path) -> str:
    """Return the kind of a file or folder, one of the constants above.  Raises CheckpointError for any other."""
    return open_any(path).kind


def open_any(path: str | Path) -> Opened:
    """Open a file or folder and tell its kind.  Raises CheckpointError if it is of none."""
    path = Path(path)
    if path.is_dir():
        return Opened(kind_of_folder(path))
    tree = open_checkpoint(path)
    if isinstance(tree, LazyTensor):
        raise CheckpointError(
            f"{path} is one tensor, as a table of kept codes is; give it as mapping (--mapping={path.name})"
        )
    names = list(weights_of(tree))
    if any(name.startswith(NETWORK) for name in names) and any(name.startswith(IN_CHECKPOINT) for name in names):
        return Opened(CHECKPOINT, tree)
    if "token_embedding.weight" in names:
        return Opened(CLIP, tree)
    if any(name.endswith("encoder.conv_in.weight") for name in names):
        return Opened(CODEC, tree)
    some = f"it holds {', '.join(names[:3])}, ..." if names else "it holds no weights"
    raise CheckpointError(f"{path} is neither a VQ-Diffusion checkpoint, a codec nor an OpenAI CLIP; {some}")


def kind_of_folder(folder: Path) -> str:
    """Return MODEL_FOLDER, DIFFUSERS, HUGGINGFACE_CLIP or VQ_MODEL.  Raises CheckpointError for another folder."""
    if (folder / "model_index.json").is_file():
        return DIFFUSERS
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{folder} is no model folder: it has neither config.json (converted, Hugging Face CLIP) nor "
            "model_index.json (diffusers)"
        )
    config = read_json(folder / "config.json")
    if config.get("_class_name") == "VQModel":
        return VQ_MODEL
    return HUGGINGFACE_CLIP if "model_type" in config else MODEL_FOLDER
