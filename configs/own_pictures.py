r"""A model of a folder of your own pictures; what it is and how long it trains is chosen from what is in the folder.

    python main.py --mode=train_vqgan --config=configs/vqgan_own_pictures.py:my_pictures --workdir=runs/my_codec
    python main.py --mode=tokenize --config=configs/own_pictures.py:my_pictures --codec=runs/my_codec/model \
        --crops=4 --out=runs/my_tokens
    python main.py --mode=train --config=configs/own_pictures.py:my_pictures --codec=runs/my_codec/model \
        --config.data.cache=runs/my_tokens --workdir=runs/my_model

It reads captions if there are any, else the classes that folders name.  The codec's configuration chooses its sizes
by the same rules (vqdiffusion_jax/training/own_pictures/choice.py).
"""

from vqdiffusion_jax.training.own_pictures import denoiser_config


def get_config(folder=""):
    return denoiser_config(folder)
