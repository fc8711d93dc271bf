"""Improved VQ-Diffusion: COCO weights tuned with a learned null condition (the reference's coco_tune.yaml).

--init_from=coco_pretrained.pth, which lacks the null embedding; it is initialised
at random, as in the reference.  The reference's own start needs several
GPUs: on one, its strict loading fails.  Nothing is frozen but codec and CLIP.
"""

from vqdiffusion_jax.config_files import config_of


def get_config():
    from vqdiffusion_jax.config import to_dict
    from vqdiffusion_jax.presets import preset

    config = config_of("coco")
    config.model.update(to_dict(preset("coco_cf")))
    config.data.drop_rate = 0.1  # of the captions become empty, and train the null embedding
    return config
