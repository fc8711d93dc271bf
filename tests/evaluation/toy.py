"""A model of two codes on four tokens, small enough that every state can be listed."""

import jax
import jax.numpy as jnp
import numpy as np

from vqdiffusion_jax.config import DenoiserConfig, ModelConfig, ScheduleConfig, VQGANConfig
from vqdiffusion_jax.models.shapes import shapes_of
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel

CODES, TOKENS, STEPS = 2, 4, 4
SCHEDULE = ScheduleConfig(
    num_codes=CODES, num_timesteps=STEPS, keep_start=0.9, keep_end=0.05, mask_start=0.04, mask_end=0.9
)
TOY = ModelConfig(
    denoiser=DenoiserConfig(
        condition="none",
        num_codes=CODES,
        grid=(2, 2),
        position_grid=(2, 2),
        width=8,
        num_layers=1,
        num_heads=2,
        num_timesteps=STEPS,
    ),
    codec=VQGANConfig(
        quantizer="vq",
        codebook_size=CODES,
        embed_dim=2,
        image_size=4,
        channels=4,
        channel_multipliers=(1, 1),
        num_res_blocks=1,
        attention_levels=(),
        z_channels=4,
        norm_groups=2,
    ),
    schedule=SCHEDULE,
)


def toy_model() -> VQDiffusionModel:
    """Random weights, so large that they tell tokens apart."""
    fresh, rng = shapes_of(VQDiffusionModel, TOY), np.random.default_rng(1)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0.0, 0.6, leaf.shape), leaf.dtype), fresh)
