"""A LoRA in one safetensors file: factors named by the layer's path, and in its header rank, alpha and the base."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from .errors import CheckpointError, brief
from .files import with_usual_permissions, write_whole
from .finite import check_finite
from .models.lora import Factors, LoRA
from .safetensors_file import read_safetensors
from .storage.copies import here
from .user_files import parse_json

FILE = "lora.safetensors"
_ABOUT = "lora"  # of the JSON among the header's texts
_A, _B = ".lora_a", ".lora_b"


def write_lora(file: str | Path, lora: LoRA, **about: Any) -> None:
    """Write an adapter, whose arrays this process holds whole, to ``file``.

    about: what else its header tells people, such as the base it was trained on, as plain JSON.
    """
    arrays = {}
    for path, factors in lora.layers.items():
        arrays[path + _A] = np.ascontiguousarray(factors.a, np.float32)
        arrays[path + _B] = np.ascontiguousarray(factors.b, np.float32)
    told = json.dumps({"rank": lora.rank, "alpha": lora.alpha, **about})
    with write_whole(file) as place:
        save_file(arrays, place, metadata={"format": "vqdiffusion_jax", _ABOUT: told})
        with_usual_permissions(place)


def read_lora(file: str | Path) -> LoRA:
    """Return the adapter in a file, or in the file of the usual name in a folder; its arrays are numpy's.

    ``models.lora.check_fits`` tells whether it goes with a model.
    Raises CheckpointError, one line, for a file that cannot be read or holds no such adapter, and StorageError for an
    address that cannot be read.
    """
    file = here(file)
    file = file / FILE if file.is_dir() else file
    content = read_safetensors(file)
    stored = content.tensors
    if not stored:
        raise CheckpointError(f"{file} holds no arrays; give a file that a run with lora.rank wrote")
    alpha = _alpha(file, content.metadata)
    paths = sorted({name.removesuffix(_A).removesuffix(_B) for name in stored})
    wanted = {path + end for path in paths for end in (_A, _B)}
    if odd := sorted(stored.keys() ^ wanted):
        told = "is not a LoRA of this package" if odd[0] in stored else "is not whole"
        raise CheckpointError(f"{file} {told} (see {brief(odd[0], 80)}); give a file that a run with lora.rank wrote")
    ranks = set()
    for path in paths:
        a, b = stored[path + _A], stored[path + _B]
        for factor in (a, b):
            if not jnp.issubdtype(factor.dtype, jnp.floating):
                raise CheckpointError(f"{file}: the factors of {brief(path, 80)} are {factor.dtype}; floats are needed")
        if len(a.shape) < 2 or len(b.shape) < 2 or a.shape[-1] != b.shape[-2]:
            raise CheckpointError(f"{file}: {brief(path, 80)} has factors {a.shape} and {b.shape}, whose ranks differ")
        ranks.add(a.shape[-1])
    if len(ranks) > 1 or 0 in ranks:
        raise CheckpointError(f"{file} has factors of the ranks {sorted(ranks)}; they must be of one, of at least 1")
    layers = {path: Factors(*(np.asarray(stored[path + end], np.float32) for end in (_A, _B))) for path in paths}
    lora = LoRA(layers, alpha)
    check_finite(lora, file)
    return lora


def _alpha(file: Path, about: Mapping[str, str]) -> float:
    """Return alpha, of the file's header.  Raises CheckpointError if it is not there, or no number."""
    try:
        table = parse_json(about[_ABOUT], "its header") if _ABOUT in about else {}
    except ValueError as error:
        raise CheckpointError(f"{file}: {error}") from error
    alpha = table.get("alpha") if isinstance(table, dict) else None
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise CheckpointError(f"{file} does not tell its alpha; give a file that a run with lora.rank wrote")
    return float(alpha)
