"""What a native folder holds, as its config.json says: a whole "model", a "codec" or "clip" alone.

All kinds have the same files, and the same parameter paths under ``weights``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .checkpoint import load_weights
from .config import CLIPTextConfig, CLIPVisionConfig, ComputeConfig, ModelConfig, VQGANConfig, from_dict, to_dict
from .errors import CheckpointError
from .models.components import CLIPPart, CodecPart
from .models.shapes import shapes_of
from .models.vqdiffusion import VQDiffusionModel

FORMAT = "vqdiffusion_jax model"
FORMAT_VERSION = 1
# Kind of folder: what reads it.
READERS = {
    "model": "VQDiffusionPipeline.from_pretrained",
    "codec": "vqdiffusion_jax.loading.load_codec",
    "clip": "vqdiffusion_jax.loading.load_clip",
}


def head_of(model: VQDiffusionModel | CodecPart | CLIPPart) -> dict[str, Any]:
    """The content of config.json."""
    if isinstance(model, VQDiffusionModel):
        kind, config = "model", to_dict(model.config)
    elif isinstance(model, CodecPart):
        kind, config = "codec", to_dict(model.codec.config)
    else:
        towers = {"text": model.text_encoder, "image": model.image_encoder}
        kind, config = (
            "clip",
            {name: None if tower is None else to_dict(tower.config) for name, tower in towers.items()},
        )
    return {"format": FORMAT, "version": FORMAT_VERSION, "kind": kind, kind: config}


def read_head(folder: Path, kind: str) -> dict[str, Any]:
    """The configuration in a native folder of that kind.  Raises CheckpointError, one line, if it is no such folder."""
    file = folder / "config.json"
    try:
        head = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise CheckpointError(f"{file} is not of a {FORMAT}; expected a folder written by save_pretrained or convert")
    if head.get("version") != FORMAT_VERSION:
        raise CheckpointError(f"{file} has version {head.get('version')}; this release reads version {FORMAT_VERSION}")
    found = head.get("kind", "model")
    if found not in READERS:
        raise CheckpointError(f"{file}: kind is {found!r}; allowed: {', '.join(READERS)}")
    if found != kind:
        raise CheckpointError(f"{folder} holds a {found}, not a {kind}; {READERS[found]} reads it")
    return head.get(kind)


def read_config(folder: Path) -> ModelConfig:
    """The ModelConfig of a native folder.  Raises CheckpointError or ConfigError naming the file."""
    return from_dict(ModelConfig, read_head(folder, "model"), where=f"{folder / 'config.json'}: model")


def read_codec_folder(folder: Path, compute: ComputeConfig = ComputeConfig()) -> CodecPart:
    """A native folder of kind "codec".  Raises CheckpointError or ConfigError, one line."""
    config = from_dict(VQGANConfig, read_head(folder, "codec"), where=f"{folder / 'config.json'}: codec")
    return load_weights(folder / "weights", shapes_of(CodecPart, config, compute))


def read_clip_folder(folder: Path, compute: ComputeConfig = ComputeConfig()) -> CLIPPart:
    """A native folder of kind "clip".  Raises CheckpointError or ConfigError, one line."""
    towers, where = read_head(folder, "clip"), f"{folder / 'config.json'}: clip"
    if not isinstance(towers, dict) or set(towers) != {"text", "image"}:
        raise CheckpointError(f"{where} must have the fields text and image; convert the folder again")
    types = {"text": CLIPTextConfig, "image": CLIPVisionConfig}
    configs = {
        name: None if towers[name] is None else from_dict(types[name], towers[name], where=f"{where}.{name}")
        for name in types
    }
    return load_weights(folder / "weights", shapes_of(CLIPPart, **configs, compute=compute))
