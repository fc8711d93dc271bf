"""The codec of configs/emoji_gpu.py: 128 x 128 pixels to 16 x 16 tokens of 4096 codes, minutes on one GPU.

python -m vqdiffusion_jax.data.emoji --out=data/emoji128 --size=128
python main.py --mode=train_vqgan --config=configs/vqgan_emoji_gpu.py --workdir=runs/vqgan_emoji_gpu
"""

from vqdiffusion_jax.config import VQGANConfig
from vqdiffusion_jax.training.config_dict import vqgan_config_dict

CODEC = VQGANConfig(
    quantizer="ema",
    codebook_size=4096,
    embed_dim=64,
    image_size=128,
    channels=64,
    channel_multipliers=(1, 2, 2, 4),
    num_res_blocks=2,
    attention_levels=(),
    z_channels=128,
)
DATA = dict(source="compositions", root="data/emoji128", options=dict(size=128, concepts="all"), cache="")


def get_config():
    grammar = dict(large=0.6, small=0.0, pair=0.1, count=0.25, mixed=0.05, white_rate=0.3)
    return vqgan_config_dict(
        codec=CODEC,
        data=DATA | dict(options=DATA["options"] | dict(grammar=grammar)),
        reconstruction=dict(l1=0.5, l2=4.0),
        batch_size=64,
        steps=6000,
        optimizer=dict(b1=0.9, b2=0.99),
        learning_rate=dict(
            schedule="cosine", start=1.0e-5, peak=5.0e-4, floor=5.0e-6, warmup_steps=200, total_steps=6000
        ),
        ema=dict(decay=0.998, interval=1),
        compute=dict(dtype="bfloat16", remat=False),
        checkpoint=dict(every=2000),
        watch=dict(log_every=100, eval_every=3000, eval_batches=4, sample_every=3000, num_samples=16),
        workers=6,
    )
