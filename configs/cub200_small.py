"""VQ-Diffusion-S on CUB-200 (paper table 1): 18 layers of width 192 with convolutional MLPs, otherwise as cub200.

The reference publishes no file for this model; its numbers follow from the released weights' shapes.
"""

from configs import cub200


def get_config():
    from vqdiffusion_jax.config import to_dict
    from vqdiffusion_jax.presets import preset

    config = cub200.get_config()
    config.model.update(to_dict(preset("cub200_small")))
    return config
