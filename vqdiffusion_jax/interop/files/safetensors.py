"""Weights of Hugging Face style folders: safetensors, read lazily without torch, their shards, and .bin pickles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from ...errors import CheckpointError, brief
from ...files import with_usual_permissions
from ...lazy_tensor import LazyTensor
from ...safetensors_file import read_safetensors
from .json_options import read_json
from .torch_zip import open_checkpoint, state_dict


def open_safetensors(path: str | Path) -> dict[str, LazyTensor]:
    """Return the tensors of a safetensors file by name.  Raises CheckpointError if it cannot be read."""
    return read_safetensors(path).tensors


def _open(path: Path) -> Mapping[str, Any]:
    return open_safetensors(path) if path.suffix == ".safetensors" else state_dict(open_checkpoint(path))


def _open_shards(index: Path) -> dict[str, Any]:
    """Return all tensors of a file in shards, given its ``*.index.json``."""
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(
        isinstance(name, str) and Path(name).name == name and name.isprintable() for name in places.values()
    ):
        raise CheckpointError(f"{index} has no weight_map from tensors to files beside it; fetch it again")
    shards = {name: _open(index.parent / name) for name in sorted(set(places.values()))}
    if absent := [tensor for tensor, name in places.items() if tensor not in shards[name]]:
        raise CheckpointError(
            f"{index} names {len(absent)} tensors that its shards lack, first {brief(absent[0], 80)}; "
            "fetch the folder again"
        )
    return {tensor: shards[name][tensor] for tensor, name in places.items()}


def open_weights(folder: str | Path, *stems: str, variant: str | None = None) -> Mapping[str, Any]:
    """Return the tensors of a part of a Hugging Face style folder.

    The choice is safetensors before .bin, one file before shards, and full precision before the variants fp16 and bf16,
    unless a variant is named, which then comes first.

    Args:
        folder: the part's folder.
        stems: the file's possible names without endings, as ``diffusion_pytorch_model``, ``model``.
        variant: the one to prefer, as "fp16"; a part that has no such file is read in full precision.

    Returns:
        Tensor name to something with ``.shape`` and ``.dtype`` that ``numpy.asarray`` reads.

    Raises:
        CheckpointError: if there is no such file or it cannot be read.
    """
    folder = Path(folder)
    for kind in (f".{variant}", "") if variant else ("", ".fp16", ".bf16"):
        for ending in ("safetensors", "bin"):
            for stem in stems:
                if (single := folder / f"{stem}{kind}.{ending}").exists():
                    return _open(single)
                if (index := folder / f"{stem}.{ending}.index{kind}.json").exists():
                    return _open_shards(index)
    names = ", ".join(f"{stem}.{ending}" for stem in stems for ending in ("safetensors", "bin"))
    raise CheckpointError(f"{folder} holds no weights; one of {names} must be there")


def write_safetensors(path: str | Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write tensors in one dtype; mixed ones are widened to float32, because readers load a part in one dtype."""
    mixed = len({array.dtype for array in tensors.values()}) > 1
    whole = {name: np.ascontiguousarray(array, np.float32 if mixed else array.dtype) for name, array in tensors.items()}
    # transformers refuses a file that does not say which framework's names and layouts it has.
    save_file(whole, path, metadata={"format": "pt"})
    with_usual_permissions(path)
