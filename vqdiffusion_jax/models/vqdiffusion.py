"""A whole VQ-Diffusion model as one pytree: denoiser, image codec and, for text, CLIP's text tower."""

from __future__ import annotations

from dataclasses import replace

from flax import nnx

from ..config import ComputeConfig, ModelConfig
from .clip import CLIPTextEncoder
from .denoiser import Denoiser
from .vqgan import VQGAN


class VQDiffusionModel(nnx.Module):
    """The three networks of one checkpoint, side by side (paper figure 2).

    ``denoiser`` predicts clean tokens, ``codec`` turns tokens into pixels and back, ``text_encoder`` (None unless the
    condition is text) reads prompts.  The container has no forward pass of its own: sampling and training take the
    parts that they need.

    text_compute: arithmetic and parameters of the text tower.  By default it runs like the rest, on float32
    parameters: CLIP is frozen and small, and its norms and tables are not to be rounded.

    Raises:
      ConfigError: a part of ``config`` cannot be built.
    """

    def __init__(
        self,
        config: ModelConfig,
        compute: ComputeConfig = ComputeConfig(),
        *,
        text_compute: ComputeConfig | None = None,
        rngs: nnx.Rngs,
    ):
        self.config = config
        self.denoiser = Denoiser(config.denoiser, compute, rngs=rngs)
        self.codec = VQGAN(config.codec, compute, rngs=rngs)
        if config.text_encoder is None:
            self.text_encoder = None
        else:
            self.text_encoder = CLIPTextEncoder(
                config.text_encoder, text_compute or replace(compute, param_dtype="float32"), rngs=rngs
            )
