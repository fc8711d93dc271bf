"""The check of a host batch before it is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np

from ...config import ModelConfig
from ...errors import ConfigError
from ..batch import HostBatch


def check_batch(batch: HostBatch, config: ModelConfig) -> None:
    """Raise ConfigError, one line, unless ``batch`` has the arrays, shapes and values that ``config`` trains on."""
    arrays = cast(Mapping[str, np.ndarray], batch)
    denoiser = config.denoiser
    side = config.codec.image_size
    shapes: dict[str, tuple[int, ...]] = (
        {"tokens": (denoiser.num_tokens,)}
        if "tokens" in arrays
        else {"images": (side, side, config.codec.image_channels)}
    )
    if denoiser.condition == "text":
        shapes |= {"text_ids": (denoiser.condition_length,), "text_mask": (denoiser.condition_length,)}
    if denoiser.condition == "class":
        shapes |= {"labels": ()}
    if missing := [name for name in shapes if name not in arrays]:
        raise ConfigError(
            f"the data gives {', '.join(arrays)}, but this model trains on {', '.join(shapes)}: no {', '.join(missing)}"
        )
    for name, shape in shapes.items():
        if arrays[name].shape[1:] != shape:
            raise ConfigError(
                f"the data gives {name} of {arrays[name].shape[1:]} a sample, but this model expects {shape}"
            )
    limits = {"tokens": denoiser.num_codes, "labels": denoiser.num_classes + 1}
    for name in limits.keys() & shapes.keys():
        values, limit = arrays[name], limits[name]
        if values.size and not 0 <= values.min() <= values.max() < limit:
            raise ConfigError(
                f"the data gives {name} from {values.min()} to {values.max()}, but this model allows 0 to {limit - 1}"
            )
