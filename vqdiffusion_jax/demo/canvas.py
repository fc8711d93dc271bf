"""A picture to start from, and the mask that a brush paints on it."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..sampling import outpaint
from .limits import Limits

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")


def read_upload(data: bytes, limits: Limits) -> Image.Image:
    """The picture in an uploaded file, upright and in RGB.  Raises ValueError, one line, for what is too large or no picture."""
    if len(data) > limits.upload_bytes:
        raise ValueError(
            f"the file has {len(data):,} bytes; at most {limits.upload_bytes:,} are taken, so make the picture smaller"
        )
    try:
        picture = Image.open(BytesIO(data), formats=FORMATS)
        width, height = picture.size
        # Only the header has been read so far: a small file may unpack to very many pixels.
        upright = ImageOps.exif_transpose(picture).convert("RGB") if width * height <= limits.upload_pixels else None
    except UnidentifiedImageError as error:
        raise ValueError(f"the file is no picture; give one of {', '.join(FORMATS)}") from error
    except Exception as error:  # Pillow's parsers raise whatever they trip over
        raise ValueError(f"the picture cannot be read: {' '.join(str(error).split())}") from error
    if upright is None:
        raise ValueError(
            f"the picture is {width} x {height}; at most {limits.upload_pixels:,} pixels are taken, so make it smaller"
        )
    return upright


class Canvas:
    """What a run starts from.

    size: side in pixels, the codec's image_size.
    picture: uint8 (size, size, 3), or None; mask: (size, size) bool, True where to paint.
    """

    def __init__(self, size: int):
        self.size = size
        self.clear()

    def clear(self) -> None:
        """No picture, no mask."""
        self._whole: Image.Image | None = None
        self.picture: np.ndarray | None = None
        self.erase()

    def erase(self) -> None:
        """No mask."""
        self.mask = np.zeros((self.size, self.size), bool)
        self._last: tuple[float, float] | None = None

    def put(self, picture: Image.Image) -> None:
        """Take another picture: its centre square, resized."""
        self._whole = picture
        self.picture = np.asarray(ImageOps.fit(picture, (self.size, self.size), Image.Resampling.BICUBIC))
        self.erase()

    def extend(self, left: float, top: float, right: float, bottom: float) -> None:
        """Outpainting: the picture smaller, and margins around it, fractions of the canvas, that are to be painted.

        Raises ValueError if there is no picture, or if the margins are none or leave nothing of it.
        """
        if self._whole is None:
            raise ValueError("there is no picture to extend; upload one first")
        self.picture, mask = outpaint(self._whole, self.size, left=left, top=top, right=right, bottom=bottom)
        self.erase()
        self.mask = mask

    def stroke(self, x: float, y: float, radius: float, *, rub_out: bool = False) -> None:
        """Paint a disc at (x, y), in pixels, and the line to it from where the last stroke ended, unless ``lift`` came between."""
        start = self._last or (x, y)
        rows, columns = np.mgrid[: self.size, : self.size] + 0.5
        along = np.array((x - start[0], y - start[1]))
        share = ((columns - start[0]) * along[0] + (rows - start[1]) * along[1]) / max(along @ along, 1e-9)
        share = np.clip(share, 0.0, 1.0)
        distance = np.hypot(columns - start[0] - share * along[0], rows - start[1] - share * along[1])
        self.mask = np.where(distance <= radius, not rub_out, self.mask)
        self._last = (x, y)

    def lift(self) -> None:
        """The brush leaves the canvas."""
        self._last = None

    def view(self) -> np.ndarray:
        """The picture with what is to be painted in red: uint8 (size, size, 3)."""
        picture = np.full((self.size, self.size, 3), 224, np.uint8) if self.picture is None else self.picture
        red = picture // 3 + np.array((150, 20, 30), np.uint8)
        return np.where(self.mask[..., None], red, picture)
