"""The former place of ``config_dict``, for configuration files written before; it goes with the next release."""

import warnings

from .config_dict import train_config_dict as table
from .config_dict import vqgan_config_dict as vqgan_table

__all__ = ["table", "vqgan_table"]

warnings.warn(
    "vqdiffusion_jax.training.table is now training.config_dict, and table and vqgan_table are train_config_dict and "
    "vqgan_config_dict there; the old names go with the next release",
    FutureWarning,
    stacklevel=2,
)
