"""What a file or folder is, by what is in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..errors import CheckpointError
from .codecs import FULL_CHECKPOINT
from .denoiser_rules import NETWORK
from .lazy_tensor import LazyTensor
from .torch_zip import open_checkpoint, state_dict

NATIVE, DIFFUSERS, CHECKPOINT = "native folder", "diffusers folder", "training checkpoint"
CODEC, CLIP, HUGGINGFACE_CLIP = "codec", "CLIP", "Hugging Face CLIP folder"


def kind_of(path: str | Path) -> str:
    """One of the kinds above.  Raises CheckpointError, one line, for a file or folder of none."""
    path = Path(path)
    if path.is_dir():
        return kind_of_folder(path)
    tree = open_checkpoint(path)
    if isinstance(tree, LazyTensor):
        raise CheckpointError(
            f"{path} is one tensor, as a table of kept codes is; give it as mapping (--mapping={path.name})"
        )
    if isinstance(tree, Mapping):
        tree = next((tree[name] for name in ("state_dict", "model") if isinstance(tree.get(name), Mapping)), tree)
    names = list(state_dict(tree))
    if any(name.startswith(NETWORK) for name in names) and any(name.startswith(FULL_CHECKPOINT) for name in names):
        return CHECKPOINT
    if "token_embedding.weight" in names:
        return CLIP
    if any(name.endswith("encoder.conv_in.weight") for name in names):
        return CODEC
    some = f"it holds {', '.join(names[:3])}, ..." if names else "it holds no weights"
    raise CheckpointError(f"{path} is neither a VQ-Diffusion checkpoint, a codec nor an OpenAI CLIP; {some}")


def kind_of_folder(folder: Path) -> str:
    """NATIVE, DIFFUSERS or HUGGINGFACE_CLIP.  Raises CheckpointError, one line, for another folder."""
    if (folder / "model_index.json").is_file():
        return DIFFUSERS
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{folder} is no model folder: it has neither config.json (converted, Hugging Face CLIP) nor model_index.json (diffusers)"
        )
    try:
        head = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{folder / 'config.json'} is not readable JSON ({' '.join(str(error).split())}); fetch it again"
        ) from None
    return HUGGINGFACE_CLIP if isinstance(head, dict) and "model_type" in head else NATIVE
