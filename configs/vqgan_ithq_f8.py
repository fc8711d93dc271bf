"""The f8 codec with 4096 codes that follow their latents (the ITHQ model's), 256 x 256, from scratch.

Its architecture, decay and commitment are published, its training is not: loss and rates are those of vqgan_f16.
Set reconstruction.vgg, reconstruction.lins and reconstruction.perceptual=1 for LPIPS.
"""

from vqdiffusion_jax.presets import CODECS
from vqdiffusion_jax.training.config_dict import vqgan_config_dict


def get_config():
    return vqgan_config_dict(
        codec=CODECS["ithq_f8_4096"],
        data=dict(source="tar_shards", root="dataset/ITHQ", options={}, cache="", validation_fraction=0.0001),
        reconstruction=dict(l1=1.0, perceptual=0.0, vgg="", lins=""),
        codebook=dict(commitment=0.25, decay=0.99, restart_below=0.1),
        discriminator=dict(weight=0.75, start=50_000, num_layers=3),
        batch_size=64,
        steps=500_000,
        learning_rate=dict(start=1.0e-6, peak=1.0e-4, warmup_steps=1000, patience=500_000),
        compute=dict(dtype="bfloat16", remat=True),
        checkpoint=dict(every=5000),
        watch=dict(eval_every=10_000, sample_every=5000, num_samples=8),
    )
