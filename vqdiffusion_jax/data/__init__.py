"""Pictures, captions and labels from disk to batches; nothing here is imported by ``import vqdiffusion_jax``."""

from .config import DataConfig
from .loader import make_loader
from .records import BrokenRecord, DataError

__all__ = ["BrokenRecord", "DataConfig", "DataError", "make_loader"]
