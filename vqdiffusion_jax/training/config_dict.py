"""What a configuration file is written in: the fields of a run as a table, each of which a flag can change.

A file of anybody's own begins with ``from vqdiffusion_jax.training.config_dict import table`` (or ``vqgan_table``), wherever it lies.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from ..config import VQGANConfig, to_dict
from .config import run_config, to_table
from .denoiser.config import train_config
from .vqgan.config import VQGANTrainConfig


def table(**fields) -> ConfigDict:
    """The fields of a TrainConfig, nested; what is left out takes its default, ``model`` may be the name of a preset.

    Every field, those of the model too, is there to be changed: --config.model.denoiser.num_layers=2.
    """
    return ConfigDict(to_table(train_config(fields)))


def vqgan_table(*, codec: VQGANConfig, **fields) -> ConfigDict:
    """The fields of a VQGANTrainConfig, nested; what is left out takes its default.

    Every field, those of the codec too, is there to be changed: --config.codec.channels=32.
    """
    fields["optimizer"] = dict(b1=0.5, b2=0.9, clip_norm=1.0, weight_decay=0.0) | fields.get("optimizer", {})
    fields["ema"] = dict(decay=0.999, interval=1) | fields.get("ema", {})
    return ConfigDict(to_table(run_config(VQGANTrainConfig, {"codec": to_dict(codec), **fields})))
