"""The image codec of a folder of your own pictures; image size, codes and length are chosen from what is in it.

    python main.py --mode=train_vqgan --config=configs/vqgan_own_pictures.py:my_pictures --workdir=runs/my_codec

The folder's name stands behind the colon.  Two lines on stderr tell what was chosen and about how long it takes; any
field can be changed, as in --config.steps=2000.  See "Your own pictures" in docs/training.md.
"""

from vqdiffusion_jax.training.own_pictures import codec_config


def get_config(folder=""):
    return codec_config(folder)
