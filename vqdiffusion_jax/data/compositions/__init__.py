"""Pictures composed of one to five drawings, with captions as people type them."""

from .composition import Composition, Thing
from .library import Library

__all__ = ["Composition", "Library", "Thing"]
