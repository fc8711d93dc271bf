"""VQ-Diffusion-B on CUB-200 birds (the reference's cub200.yaml): --init_from=CC_pretrained.pth.

Batch 4 on each of 8 GPUs.
"""

from vqdiffusion_jax.training.config_dict import train_config_dict


def get_config():
    return train_config_dict(
        model="cub200",
        data=dict(source="cub200", root="dataset/CUB-200", options={}, cache="", drop_rate=0.0),
        batch_size=32,
        steps=110_400,  # 400 epochs of 8855 images; the authors chose the best FID, near epoch 270
        learning_rate=dict(peak=4.5e-4, warmup_steps=1000, patience=25_000),
        ema=dict(interval=25),
        checkpoint=dict(every=2000),
        watch=dict(
            eval_every=10_000,
            sample_every=2000,
            prompts=(
                "this bird is red with black wings",
                "a small yellow bird with a short beak",
                "a blue bird with a white belly",
            ),
        ),
    )
