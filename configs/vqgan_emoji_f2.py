"""A codec of matrix products for compositions: 64 x 64 pixels to 32 x 32 tokens of 64 codes, on two CPU cores.

    python -m vqdiffusion_jax.data.emoji --out=data/emoji --size=128
    python main.py --mode=train_vqgan --config=configs/vqgan_emoji_f2.py --workdir=runs/vqgan_emoji_f2

Each cell of 8 x 8 pixels becomes 16 tokens of 6 bits, and a drawing has the same tokens wherever it lies on a grid of
8 pixels.  Training repeated with --config.decoder_only=True improves the decoder alone: tokens stay as they are.
"""

from vqdiffusion_jax.config import VQGANConfig
from vqdiffusion_jax.training.config_dict import vqgan_config_dict


def get_config():
    return vqgan_config_dict(
        codec=VQGANConfig(
            quantizer="fsq",
            levels=(4, 4, 4),
            codebook_size=64,
            embed_dim=3,
            image_size=64,
            channels=512,
            channel_multipliers=(1, 1),
            num_res_blocks=1,
            attention_levels=(),
            z_channels=3,
            norm_groups=8,
            encoder_window=8,
            network="dense",
        ),
        data=dict(
            source="compositions",
            root="data/emoji",
            options=dict(
                styles=("fluent-3d", "noto", "twemoji", "plain"),
                grammar=dict(large=0.6, small=0.0, pair=0.1, count=0.25, mixed=0.05, white_rate=0.3),
            ),
            cache="",
        ),
        reconstruction=dict(l1=0.5, l2=4.0),
        batch_size=32,
        steps=12_000,
        optimizer=dict(b1=0.9, b2=0.99),
        learning_rate=dict(
            schedule="cosine", start=1.0e-5, peak=1.5e-3, floor=5.0e-6, warmup_steps=100, total_steps=12_000
        ),
        ema=dict(decay=0.998, interval=1),
        compute=dict(dtype="bfloat16", remat=False),
        checkpoint=dict(every=500),
        watch=dict(log_every=50, eval_every=1000, eval_batches=4, sample_every=1000, num_samples=16),
        workers=0,
    )
