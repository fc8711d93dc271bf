"""Parts of a model on their own, with the parameter paths that they have in a VQDiffusionModel.

Native folders of one part hold one of them.
"""

from __future__ import annotations

from flax import nnx

from ..config import CLIPTextConfig, CLIPVisionConfig, ComputeConfig, VQGANConfig
from .clip import CLIPTextEncoder, CLIPVisionEncoder
from .vqgan import VQGAN


class CodecComponent(nnx.Module):
    """An image codec alone, as ``codec``."""

    def __init__(self, config: VQGANConfig, compute: ComputeConfig = ComputeConfig(), *, rngs: nnx.Rngs):
        self.codec = VQGAN(config, compute, rngs=rngs)


class CLIPComponents(nnx.Module):
    """CLIP's towers alone, as ``text_encoder`` and ``image_encoder``; either may be None."""

    def __init__(
        self,
        text: CLIPTextConfig | None,
        image: CLIPVisionConfig | None,
        compute: ComputeConfig = ComputeConfig(),
        *,
        rngs: nnx.Rngs,
    ):
        self.text_encoder = CLIPTextEncoder(text, compute, rngs=rngs) if text is not None else None
        self.image_encoder = CLIPVisionEncoder(image, compute, rngs=rngs) if image is not None else None
