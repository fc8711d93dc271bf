"""What every file of this folder is written in."""

from ml_collections import ConfigDict

from vqdiffusion_jax.training.config import to_table
from vqdiffusion_jax.training.denoiser.config import train_config


def table(**fields) -> ConfigDict:
    """The fields of a TrainConfig, nested; what is left out takes its default, ``model`` may be the name of a preset.

    Every field, those of the model too, is there to be changed: --config.model.denoiser.num_layers=2.
    """
    return ConfigDict(to_table(train_config(fields)))
