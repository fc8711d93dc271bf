"""VQ-Diffusion on ImageNet classes, 256 x 256 (the reference's imagenet.yaml), from scratch.

Batch 32 on each of 8 GPUs.

The reference needs a list file ILSVRC2012_name_train.txt that its README does not mention; here it may be there or not.
"""

from vqdiffusion_jax.training.config_dict import train_config_dict


def get_config():
    return train_config_dict(
        model="imagenet",
        data=dict(source="imagenet", root="dataset/ImageNet", options={}, cache="", drop_rate=0.0),
        batch_size=256,
        steps=500_000,  # 100 epochs of 1 281 167 images
        learning_rate=dict(peak=4.5e-4, warmup_steps=5000, patience=100_000),
        ema=dict(interval=25),
        checkpoint=dict(every=5000),
        watch=dict(eval_every=50_000, sample_every=5000, labels=(407, 1, 207, 963)),
    )
