"""Data sets: pictures, captions and labels from disk to batches.

``make_loader`` reads a data set or a token cache in batches, and ``open_source`` reads a data set record by record.
Your own data set is a ``Source`` of ``Record``s, named ``module:Class`` in a ``DataConfig``.  The package
vqdiffusion_jax does not import this one by itself.
"""

from ..errors import BrokenRecord, DataError
from .config import DataConfig
from .examples import CachedExamples, PictureExamples
from .loader import Loader, make_loader
from .records import Batch, Example, Record, Source
from .sources import open_source

__all__ = [
    "Batch",
    "BrokenRecord",
    "CachedExamples",
    "DataConfig",
    "DataError",
    "Example",
    "Loader",
    "PictureExamples",
    "Record",
    "Source",
    "make_loader",
    "open_source",
]
