"""VQ-Diffusion-B on COCO 2014 (paper section 5; the reference's coco.yaml).

Start from CC weights as the reference does: --init_from=CC_pretrained.pth.  Batch 4 on each of 8 GPUs.
"""

from vqdiffusion_jax.training.config_dict import train_config_dict


def get_config():
    return train_config_dict(
        model="coco",
        data=dict(source="coco", root="dataset/COCO", options={}, cache="", drop_rate=0.0),
        batch_size=32,
        steps=1_290_000,  # 100 epochs of 414 113 captions
        learning_rate=dict(peak=2.0e-4, warmup_steps=1000, patience=60_000),
        ema=dict(interval=25),
        checkpoint=dict(every=5000),
        watch=dict(
            eval_every=65_000,
            sample_every=5000,
            prompts=(
                "a giraffe standing in a field",
                "a train at a station",
                "a plate of food on a table",
                "a man surfing a wave",
            ),
        ),
    )
