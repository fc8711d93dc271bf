"""Looking at a host batch before it is trained on."""

from __future__ import annotations

from typing import Any

from ...config import ModelConfig
from ...errors import ConfigError


def check_batch(batch: dict[str, Any], config: ModelConfig) -> None:
    """Raise ConfigError, one line, unless ``batch`` is what ``config`` trains on; looks at shapes and at the range of every token."""
    denoiser = config.denoiser
    side = config.codec.image_size
    shapes = (
        {"tokens": (denoiser.num_tokens,)}
        if "tokens" in batch
        else {"images": (side, side, config.codec.image_channels)}
    )
    if denoiser.condition == "text":
        shapes |= {"text_ids": (denoiser.condition_length,), "text_mask": (denoiser.condition_length,)}
    if denoiser.condition == "class":
        shapes |= {"labels": ()}
    if missing := [name for name in shapes if name not in batch]:
        raise ConfigError(
            f"the data gives {', '.join(batch)}, but this model trains on {', '.join(shapes)}: no {', '.join(missing)}"
        )
    for name, shape in shapes.items():
        if batch[name].shape[1:] != shape:
            raise ConfigError(
                f"the data gives {name} of {batch[name].shape[1:]} a sample, but this model expects {shape}"
            )
    limits = {"tokens": denoiser.num_codes, "labels": denoiser.num_classes + 1}
    for name in limits.keys() & shapes.keys():
        if batch[name].size and not 0 <= batch[name].min() <= batch[name].max() < limits[name]:
            raise ConfigError(
                f"the data gives {name} from {batch[name].min()} to {batch[name].max()}, but this model allows 0 to {limits[name] - 1}"
            )
