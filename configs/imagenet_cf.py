"""Improved VQ-Diffusion on ImageNet: a 1001st class stands for none (--init_from=imagenet_pretrained.pth).

The reference's file keeps 1000 classes and drops no label; both must be edited
by hand there.  The new row starts as the mean of the others.
"""

from vqdiffusion_jax.config_files import config_of


def get_config():
    from vqdiffusion_jax.config import to_dict
    from vqdiffusion_jax.presets import preset

    config = config_of("imagenet")
    config.model.update(to_dict(preset("imagenet_cf")))
    config.data.drop_rate = 0.1
    return config
