"""Messages of Pillow and libtiff that would go to the terminal for every odd file, silenced.

They are about metadata, or about errors that are raised as well; pixels are bounded by ``decode``.  All of this holds
for the process, as nothing narrower is safe where several threads read.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import re
import warnings
from pathlib import Path

import PIL
from PIL import Image

# Message, category and module of warnings.
_WARNINGS: tuple[tuple[str, type[Warning], str], ...] = (
    ("", UserWarning, r"PIL\.\w+ImagePlugin"),
    ("image file could not be identified", UserWarning, r"PIL\.Image"),
    ("", Image.DecompressionBombWarning, r"PIL\.\w+"),
)
_FILTERS = [("ignore", re.compile(m, re.I) if m else None, c, re.compile(p), 0) for m, c, p in _WARNINGS]


def silence() -> None:
    """Silence the messages.  It is called before each picture, as warning filters may have been reset."""
    for item, (message, category, module) in zip(_FILTERS, _WARNINGS):
        if item not in warnings.filters:
            warnings.filterwarnings("ignore", message, category, module)
    _silence_tiff()


@functools.cache
def _silence_tiff() -> None:
    logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)
    # libtiff writes to stderr by itself.  The copy that comes with Pillow is nobody else's; any other is left alone.
    folder = Path(PIL.__file__).parent
    for library in (*folder.with_name("pillow.libs").glob("libtiff*"), *(folder / ".dylibs").glob("libtiff*")):
        try:
            ctypes.CDLL(str(library)).TIFFSetErrorHandler(None)
        except (OSError, AttributeError):
            continue
