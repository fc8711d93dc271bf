"""The reference's crops, from image files to squares of pixels.

Training: a square near the centre is resized to between the codec's size and 9/8 of it, and a random square of the
codec's size is cut from that.  Validation: the short side is resized, and the centre is cut out (``CENTRE_CROP``).
Nothing is flipped; pixels stay 0..255.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from .. import pictures
from ..errors import PictureError
from ..pictures import WHITE, Colour

RESIZE_RANGE = 9 / 8  # the reference resizes to 256..288 before it crops 256
# The offset of ``centre_crop``.  It identifies what is computed from central crops, as earlier versions rounded
# (side - size) / 2 like CLIP's preprocessing.
CENTRE_CROP = "(side - size) // 2"

_LONGEST = 64  # long side over short side
_BICUBIC = Image.Resampling.BICUBIC


def decode(image: bytes | np.ndarray, background: Colour = WHITE) -> Image.Image:
    """Return an upright RGB picture, composed on a background, of a file's bytes or of an array of pixels.

    See ``pictures.decode`` and ``pictures.in_rgb``.  Raises PictureError if it is no picture or a damaged one.
    """
    if isinstance(image, np.ndarray):
        return pictures.in_rgb(image, background)
    if not isinstance(image, bytes):
        raise PictureError(f"it is {type(image).__name__}; it must be the bytes of a file or an array of pixels")
    return pictures.decode(image, background)


def train_crop(picture: Image.Image, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return a random square of ``picture``: (size, size, 3) uint8.

    The first square has the short side's length and starts on each axis at int(U(3d//8, max(3d//8 + 1, 5d//8))), where
    d is the axis's length less the short side's.  It is resized to t x t with t = int(U(size, most + 1)), where most is
    the short side clamped to [size, round(9/8 size)].  The result is a random square of that.
    """
    side = min(picture.size)
    left, top = (_near_centre(length - side, rng) for length in picture.size)
    most = max(min(side, round(RESIZE_RANGE * size)), size)
    resized = int(rng.uniform(size, most + 1))
    picture = _resize(picture.crop((left, top, left + side, top + side)), resized, resized)
    left, top = rng.integers(0, resized - size + 1, size=2).tolist()
    return np.asarray(picture.crop((left, top, left + size, top + size)))


def _near_centre(spare: int, rng: np.random.Generator) -> int:
    low = 3 * spare // 8
    return int(rng.uniform(low, max(low + 1, 5 * spare // 8)))


def centre_crop(picture: Image.Image, size: int) -> np.ndarray:
    """Return the centre of ``picture``, its short side resized to ``size``: (size, size, 3) uint8.

    This is the validation crop of every data set.  The long side becomes int(size * long / short), and the square
    begins at (side - size) // 2, as in the reference.  Of a strip more than 64 times as long as wide, only the middle
    is resized, which would take gigabytes otherwise.
    """
    side = min(picture.size)
    if max(picture.size) > _LONGEST * side:
        left, top = (max(length - _LONGEST * side, 0) // 2 for length in picture.size)
        picture = picture.crop((left, top, picture.width - left, picture.height - top))
    width, height = (size if length == side else int(size * length / side) for length in picture.size)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(_resize(picture, width, height).crop((left, top, left + size, top + size)))


def _resize(picture: Image.Image, width: int, height: int) -> Image.Image:
    return picture if picture.size == (width, height) else picture.resize((width, height), _BICUBIC)
