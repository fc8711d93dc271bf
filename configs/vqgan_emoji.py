"""The embedded model's image codec: 64 x 64 emoji scenes to 8 x 8 tokens, on two CPU cores.

    python -m vqdiffusion_jax.data.emoji --out=data/emoji
    python main.py --mode=train_vqgan --config=configs/vqgan_emoji.py --workdir=runs/vqgan_emoji

About 34 pictures a second on one core.  The discriminator is left out: drawings of flat colours gain little from it, and
it doubles the time of a step.
"""

from configs._vqgan_table import table
from vqdiffusion_jax.presets import CODECS


def get_config():
    return table(
        codec=CODECS["emoji_f8_1024"],
        data=dict(source="scenes", root="data/emoji", options=dict(concepts=64), cache=""),
        reconstruction=dict(l1=1.0, l2=1.0),
        codebook=dict(decay=0.99, restart_below=0.03),
        batch_size=32,
        steps=10_000,
        learning_rate=dict(schedule="cosine", start=1.0e-5, peak=2.0e-3, floor=1.0e-5, warmup_steps=200, total_steps=10_000),
        ema=dict(decay=0.999, interval=1),
        checkpoint=dict(every=500),
        watch=dict(log_every=50, eval_every=1000, eval_batches=8, sample_every=1000, num_samples=8),
        workers=0,
    )
