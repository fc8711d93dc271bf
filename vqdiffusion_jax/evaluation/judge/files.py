"""The judge on disk: one .npz with its parameters by path and its config."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ...config import from_dict
from ...errors import ConfigError, EvaluationError
from ...files import write_whole
from ...models.shapes import shapes_of
from ...paths import leaves_by_path
from ...user_arrays import read_npz
from ...user_files import parse_json
from .model import Judge, JudgeConfig

_CONFIG = "config"


def save_judge(judge: Judge, file: str | Path) -> None:
    """Write ``file``, whole or not at all."""
    arrays: dict[str, Any] = {path: np.asarray(leaf) for path, leaf in leaves_by_path(judge).items()}
    arrays[_CONFIG] = np.array(json.dumps(asdict(judge.config)))
    with write_whole(file) as place, place.open("wb") as out:
        np.savez(out, **arrays)


def load_judge(file: str | Path) -> Judge:
    """Return the judge in ``file``.  Raises EvaluationError if it is none."""
    try:
        arrays = read_npz(file)
        table = parse_json(str(arrays.pop(_CONFIG)), _CONFIG)
        if not isinstance(table, dict):
            raise ValueError(f"{_CONFIG} is no table")
        config = from_dict(JudgeConfig, {name: tuple(v) if isinstance(v, list) else v for name, v in table.items()})
    except (OSError, ValueError, KeyError, ConfigError) as error:
        raise EvaluationError(
            f"{file} is no judge ({getattr(error, 'strerror', None) or error}); train one with "
            "python -m vqdiffusion_jax.evaluation.judge --data=DIR --out=FILE"
        ) from error
    shapes = shapes_of(Judge, config)
    expected = {path: leaf.shape for path, leaf in leaves_by_path(shapes).items()}
    if expected != {path: array.shape for path, array in arrays.items()}:
        raise EvaluationError(f"{file} holds other parameters than its config asks for; train the judge again")
    leaves = [jax.numpy.asarray(arrays[path]) for path in expected]
    return jax.tree.unflatten(jax.tree.structure(shapes), leaves)
