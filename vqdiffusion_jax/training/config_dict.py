"""Configuration files: the fields of a run as a ConfigDict, each of which a flag can change.

A file of one's own, which may lie anywhere, begins with ``from vqdiffusion_jax.training.config_dict import
train_config_dict`` (or ``vqgan_config_dict``) and has a function ``get_config`` that returns one.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from ..config import VQGANConfig, to_dict
from .config import run_config, to_table
from .denoiser.config import train_config
from .vqgan.config import VQGANTrainConfig


def train_config_dict(**fields) -> ConfigDict:
    """Return a TrainConfig's fields, nested; those left out take their defaults, ``model`` may be a preset's name.

    Every field can be changed by a flag, those of the model too: --config.model.denoiser.num_layers=2.
    """
    return ConfigDict(to_table(train_config(fields)))


def vqgan_config_dict(*, codec: VQGANConfig, **fields) -> ConfigDict:
    """Return the fields of a VQGANTrainConfig, nested; those left out take their defaults.

    Every field can be changed by a flag, those of the codec too: --config.codec.channels=32.
    """
    fields["optimizer"] = dict(b1=0.5, b2=0.9, clip_norm=1.0, weight_decay=0.0) | fields.get("optimizer", {})
    fields["ema"] = dict(decay=0.999, interval=1) | fields.get("ema", {})
    return ConfigDict(to_table(run_config(VQGANTrainConfig, {"codec": to_dict(codec), **fields})))
