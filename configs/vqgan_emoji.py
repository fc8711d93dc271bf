"""The embedded model's image codec: 64 x 64 emoji scenes to 8 x 8 tokens, on two CPU cores.

    python -m vqdiffusion_jax.data.emoji --out=data/emoji
    python main.py --mode=train_vqgan --config=configs/vqgan_emoji.py --workdir=runs/vqgan_emoji

Two cores of a CPU take about 45 pictures a second.  There is no discriminator: it would double the work of a step.
The codec that comes with the package was trained in three pieces, which the card beside its weights lists
(vqdiffusion_jax/assets/emoji16/README.md).
"""

from vqdiffusion_jax.presets import CODECS
from vqdiffusion_jax.training.config_dict import vqgan_config_dict


def get_config():
    return vqgan_config_dict(
        codec=CODECS["emoji_f8_1024"],
        data=dict(source="scenes", root="data/emoji", options=dict(concepts=16), cache=""),
        reconstruction=dict(l1=0.5, l2=2.0),
        batch_size=32,
        steps=4000,
        learning_rate=dict(
            schedule="cosine", start=1.0e-4, peak=1.0e-3, floor=1.0e-5, warmup_steps=100, total_steps=4000
        ),
        ema=dict(decay=0.995, interval=1),
        checkpoint=dict(every=250),
        watch=dict(log_every=25, eval_every=500, eval_batches=4, sample_every=500, num_samples=16),
        workers=0,
    )
