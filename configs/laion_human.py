"""VQ-Diffusion-B on the human part of LAION-400M: 42 million images, two epochs.

The reference publishes weights but no file for this run; numbers are coco's, the batch is our choice.
"""

from vqdiffusion_jax.training.config_dict import train_config_dict


def get_config():
    return train_config_dict(
        model="laion_human",
        data=dict(
            source="tar_shards",
            root="dataset/LAION-human",
            options={},
            cache="",
            drop_rate=0.0,
            validation_fraction=0.0001,
        ),
        batch_size=64,
        steps=1_312_500,
        learning_rate=dict(peak=2.0e-4, warmup_steps=1000, patience=60_000),
        ema=dict(interval=25),
        checkpoint=dict(every=5000),
        watch=dict(
            eval_every=50_000, sample_every=5000, prompts=("a beautiful young woman", "portrait of a man in a suit")
        ),
    )
