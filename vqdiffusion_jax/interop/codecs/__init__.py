"""Image codecs (VQGANs): taming's f8 and f16, the f16 inside a Net2NetTransformer, ITHQ's, a checkpoint's copy."""

from .load import load_codec
from .part import in_checkpoint, read_codec
from .reduction import read_reduction

__all__ = ["in_checkpoint", "load_codec", "read_codec", "read_reduction"]
