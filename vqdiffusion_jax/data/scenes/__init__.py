"""Pictures composed of drawings on a coloured background, and captions that say what is in them."""

from .drawings import Drawings
from .scene import Placed, Scene

__all__ = ["Drawings", "Placed", "Scene"]
