"""VQ-Diffusion-B on Conceptual Captions, from scratch: --codec and --clip name the frozen networks.

The reference publishes no file for this run; numbers are coco's, the batch is our choice.
Images and captions as img2dataset writes them.
"""

from vqdiffusion_jax.training.config_dict import train_config_dict


def get_config():
    return train_config_dict(
        model="cc",
        data=dict(
            source="tar_shards", root="dataset/CC", options={}, cache="", drop_rate=0.0, validation_fraction=0.001
        ),
        batch_size=64,
        steps=1_000_000,
        learning_rate=dict(peak=2.0e-4, warmup_steps=1000, patience=60_000),
        ema=dict(interval=25),
        checkpoint=dict(every=5000),
        watch=dict(
            eval_every=50_000,
            sample_every=5000,
            prompts=("a red bus on a city street", "mountains at sunrise", "portrait of an old man"),
        ),
    )
