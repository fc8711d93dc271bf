"""VQ-Diffusion in JAX and Flax."""

from .config import ComputeConfig, ModelConfig
from .pipeline import VQDiffusionOutput, VQDiffusionPipeline
from .presets import preset
from .sampling.settings import SamplingSettings

__all__ = ["ComputeConfig", "ModelConfig", "SamplingSettings", "VQDiffusionOutput", "VQDiffusionPipeline", "preset"]
__version__ = "0.1.0"
