"""VQ-Diffusion in JAX and Flax."""

from .config import ComputeConfig, ModelConfig
from .extensions import trust
from .pipeline import VQDiffusionOutput, VQDiffusionPipeline
from .presets import preset
from .sampling.settings import SamplingSettings

__all__ = [
    "ComputeConfig",
    "ModelConfig",
    "SamplingSettings",
    "VQDiffusionOutput",
    "VQDiffusionPipeline",
    "preset",
    "trust",
]
__version__ = "0.1.0"
