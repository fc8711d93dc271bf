"""The f16 codec with 16384 codes (taming transformers' vqgan_imagenet_f16_16384), 256 x 256, from scratch.

The published loss of that very model: discriminator of two halvings from the first step on, weight 0.75.
Set reconstruction.vgg, reconstruction.lins and reconstruction.perceptual=1 for LPIPS, which it was trained with.
"""

from vqdiffusion_jax.presets import CODECS
from vqdiffusion_jax.training.config_dict import vqgan_config_dict


def get_config():
    return vqgan_config_dict(
        codec=CODECS["imagenet_f16_16384"],
        data=dict(source="imagenet", root="dataset/ImageNet", options={}, cache=""),
        reconstruction=dict(l1=1.0, perceptual=0.0, vgg="", lins=""),
        codebook=dict(weight=1.0, commitment=0.25),
        discriminator=dict(weight=0.75, start=0, num_layers=2),
        batch_size=24,  # 3 on each of 8 GPUs
        steps=1_000_000,
        optimizer=dict(clip_norm=1.0e6),  # none, as in taming
        learning_rate=dict(
            start=1.08e-4, peak=1.08e-4, warmup_steps=0, patience=1_000_000
        ),  # 4.5e-6 a sample, constant
        compute=dict(dtype="bfloat16", remat=True),
        checkpoint=dict(every=5000),
        watch=dict(eval_every=10_000, sample_every=5000, num_samples=8),
    )
