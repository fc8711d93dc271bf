"""What the files vqgan_*.py are written in."""

from ml_collections import ConfigDict

from vqdiffusion_jax.config import VQGANConfig, to_dict
from vqdiffusion_jax.training.config import run_config, to_table
from vqdiffusion_jax.training.vqgan.config import VQGANTrainConfig


def table(*, codec: VQGANConfig, **fields) -> ConfigDict:
    """The fields of a VQGANTrainConfig, nested; what is left out takes its default.

    Every field, those of the codec too, is there to be changed: --config.codec.channels=32.
    """
    fields["optimizer"] = dict(b1=0.5, b2=0.9, clip_norm=1.0, weight_decay=0.0) | fields.get("optimizer", {})
    fields["ema"] = dict(decay=0.999, interval=1) | fields.get("ema", {})
    return ConfigDict(to_table(run_config(VQGANTrainConfig, {"codec": to_dict(codec), **fields})))
