"""Pictures and masks, as every door takes them: bytes of files, PIL pictures and arrays."""

from .animation import moves
from .background import WHITE, Colour, colour_of, on_white
from .decode import MOST_FILE_BYTES, MOST_PIXELS, decode, in_rgb
from .fit import fit_mask, fit_picture, open_picture
from .formats import EXTENSIONS, UNREAD_EXTENSIONS
from .masks import painted, painted_channels

__all__ = [
    "EXTENSIONS",
    "MOST_FILE_BYTES",
    "MOST_PIXELS",
    "UNREAD_EXTENSIONS",
    "WHITE",
    "Colour",
    "colour_of",
    "decode",
    "fit_mask",
    "fit_picture",
    "in_rgb",
    "moves",
    "on_white",
    "open_picture",
    "painted",
    "painted_channels",
]
