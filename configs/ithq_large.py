"""VQ-Diffusion-L on internet pictures (the reference's ithq.yaml), 1.36 billion parameters, from scratch.

The reference's file names CUB-200 as a placeholder for its private 200 million
images and gives validation pictures the training crops.  Batch 8 on a GPU; the
authors used 96 of them for a month.  The file leaves caption dropping unset;
without any, the null embedding would never be trained, so it is 0.1 here.
"""

from vqdiffusion_jax.training.config_dict import train_config_dict


def get_config():
    return train_config_dict(
        model="ithq",
        data=dict(
            source="tar_shards", root="dataset/ITHQ", options={}, cache="", drop_rate=0.1, validation_fraction=0.0001
        ),
        batch_size=64,  # times 12 for the authors' 96 GPUs: --config.batch_size=768
        steps=1_000_000,
        learning_rate=dict(peak=1.0e-4, warmup_steps=7000, patience=50_000, threshold=0.05),
        ema=dict(interval=25),
        mesh=dict(data=1, fsdp=-1, tensor=1),
        checkpoint=dict(every=1000),
        watch=dict(
            eval_every=20_000,
            sample_every=2000,
            prompts=(
                "a teddy bear playing in the pool",
                "a panda wearing a hat",
                "the sunset on the beach",
                "portrait of a robot",
            ),
        ),
    )
