"""The f8 codec with 8192 codes and Gumbel-softmax (taming transformers' vqgan_gumbel_f8), 256 x 256, from scratch.

Its authors trained on OpenImages and published architecture, temperature and weight of the divergence; what they left
unsaid is taming's usual: hinge, patches, LPIPS 1.  Set reconstruction.vgg and reconstruction.lins for LPIPS.
"""

from vqdiffusion_jax.presets import CODECS
from vqdiffusion_jax.training.config_dict import vqgan_config_dict


def get_config():
    return vqgan_config_dict(
        codec=CODECS["openimages_f8_8192"],
        data=dict(source="folder", root="dataset/OpenImages", options={}, cache="", validation_fraction=0.001),
        reconstruction=dict(l1=1.0, perceptual=0.0, vgg="", lins=""),
        codebook=dict(kl_weight=1.0e-8, temperature_start=0.9, temperature_end=1.0e-6, temperature_steps=1_000_001),
        discriminator=dict(weight=0.8, start=250_001, num_layers=3),
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
