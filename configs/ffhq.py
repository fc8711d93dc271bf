"""VQ-Diffusion on faces, unconditional (the reference's ffhq.yaml), from scratch.  Batch 32 on each of 8 GPUs.

The reference's own file cannot run: it passes drop_caption_rate to a data set that does not take it.
"""

from vqdiffusion_jax.training.config_dict import train_config_dict


def get_config():
    return train_config_dict(
        model="ffhq",
        data=dict(source="ffhq", root="dataset/FFHQ", options={}, cache="", validation_fraction=0.01),
        batch_size=256,
        steps=82_000,  # 300 epochs of 70 000 images
        learning_rate=dict(peak=4.5e-4, warmup_steps=2000, patience=5000),
        ema=dict(interval=10),
        checkpoint=dict(every=1365),  # five epochs
        watch=dict(eval_every=8200, sample_every=3000, num_samples=8),
    )
