"""VQ-Diffusion-S on CUB-200 (paper table 1): 18 layers of width 192 with convolutional MLPs, otherwise as cub200.

The reference publishes no file for this model; its numbers follow from the released weights' shapes.
"""

from vqdiffusion_jax.config_files import config_of


def get_config():
    from vqdiffusion_jax.config import to_dict
    from vqdiffusion_jax.presets import preset

    config = config_of("cub200")
    config.model.update(to_dict(preset("cub200_small")))
    return config
