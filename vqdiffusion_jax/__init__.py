"""VQ-Diffusion in JAX and Flax."""

from .config import ComputeConfig, ModelConfig
from .pipeline import VQDiffusionOutput, VQDiffusionPipeline
from .presets import preset

__all__ = ["ComputeConfig", "ModelConfig", "VQDiffusionOutput", "VQDiffusionPipeline", "preset"]
__version__ = "0.1.0"
