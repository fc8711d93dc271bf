"""VQ-Diffusion in JAX and Flax."""

from .config import ComputeConfig, ModelConfig
from .presets import preset

__all__ = ["ComputeConfig", "ModelConfig", "preset"]
__version__ = "0.1.0"
