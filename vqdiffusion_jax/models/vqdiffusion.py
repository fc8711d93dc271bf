"""A whole VQ-Diffusion model as one pytree: denoiser, image codec and, for text, CLIP's text tower."""

from __future__ import annotations

from flax import nnx

from ..config import ComputeConfig, ModelConfig
from .clip import CLIPTextEncoder
from .denoiser import Denoiser
from .vqgan import VQGAN


class VQDiffusionModel(nnx.Module):
    """The three networks of one checkpoint, side by side (paper figure 2).

    ``denoiser`` predicts clean tokens, ``codec`` turns tokens into pixels and
    back, ``text_encoder`` (None unless the condition is text) reads prompts.
    The container has no forward pass of its own: sampling and training take
    the parts they need.

    Raises:
        ConfigError: if a part of ``config`` cannot be built.
    """

    def __init__(self, config: ModelConfig, compute: ComputeConfig = ComputeConfig(), *, rngs: nnx.Rngs):
        self.config = config
        self.denoiser = Denoiser(config.denoiser, compute, rngs=rngs)
        self.codec = VQGAN(config.codec, compute, rngs=rngs)
        self.text_encoder = CLIPTextEncoder(config.text_encoder, compute, rngs=rngs) if config.text_encoder is not None else None
