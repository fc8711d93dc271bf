"""Pictures, captions and labels from disk to batches; nothing here is imported by ``import vqdiffusion_jax``."""

from ..errors import BrokenRecord, DataError
from .config import DataConfig
from .loader import make_loader

__all__ = ["BrokenRecord", "DataConfig", "DataError", "make_loader"]
