"""A picture to start from, and the mask that a brush paints on it."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ..sampling import outpaint
from ..sampling.fields import Setting

SCRATCH, PICTURE, MASK = "scratch", "picture", "mask"
STARTS = Setting(type=str, choices=(SCRATCH, PICTURE, MASK), help="Red is drawn anew; all else comes back exactly.")
_NUMBER = Setting(type=float, help="Pixels.")
_FAR = 1e6  # pixels; no distance to a stroke that is farther away overflows


class StartPicture:
    """A picture and a mask.

    size: side in pixels, the codec's image_size.
    picture: uint8 (size, size, 3), or None; mask: (size, size) bool, True where to paint.
    """

    def __init__(self, size: int):
        self.size = size
        self._whole: Image.Image | None = None
        self.picture: np.ndarray | None = None
        self.clear_mask()

    def clear_mask(self) -> None:
        """Paint nothing."""
        self.mask = np.zeros((self.size, self.size), bool)
        self._last: tuple[float, float] | None = None

    def put(self, picture: Image.Image) -> None:
        """Take the centre square of another picture, resized."""
        self._whole = picture
        self.picture = np.asarray(ImageOps.fit(picture, (self.size, self.size), Image.Resampling.BICUBIC))
        self.clear_mask()

    def extend(self, left: float, top: float, right: float, bottom: float) -> None:
        """Shrink the picture and paint margins around it, given as fractions of the new picture (outpainting).

        Raises ValueError if there is no picture, or if the margins are none or leave nothing of it.
        """
        if self._whole is None:
            raise ValueError("there is no picture to extend; upload one first")
        picture, mask = outpaint(self._whole, self.size, left=left, top=top, right=right, bottom=bottom)
        self.clear_mask()
        self.picture, self.mask = picture, mask

    def stroke(self, x: float, y: float, radius: float, *, erase: bool = False) -> None:
        """Paint a disc at (x, y), in pixels, and the line to it from the stroke before, unless ``lift`` came between.

        Raises ValueError for what is no finite number.
        """
        x, y, radius = (_pixels(name, value) for name, value in (("x", x), ("y", y), ("radius", radius)))
        start = self._last or (x, y)
        rows, columns = np.mgrid[: self.size, : self.size] + 0.5
        along = np.array((x - start[0], y - start[1]))
        share = ((columns - start[0]) * along[0] + (rows - start[1]) * along[1]) / max(along @ along, 1e-9)
        share = np.clip(share, 0.0, 1.0)
        distance = np.hypot(columns - start[0] - share * along[0], rows - start[1] - share * along[1])
        self.mask = np.where(distance <= radius, not erase, self.mask)
        self._last = (x, y)

    def lift(self) -> None:
        """Lift the brush, so that no line leads to the next stroke."""
        self._last = None

    def fields(self, start: Any, strength: Any) -> dict[str, Any]:
        """Return the fields of a form that starts from scratch, from the picture with noise, or from what is masked.

        Raises ValueError if there is no picture or no mask to start from.
        """
        start = STARTS.checked("start", start)
        if start == SCRATCH:
            return {}
        if self.picture is None:
            raise ValueError("there is no picture to start from; upload one, or take one that was drawn")
        if start == PICTURE:
            return {"image": self.picture, "strength": strength}
        if not self.mask.any():
            raise ValueError("nothing is painted; brush over what is to be drawn anew, or extend the picture")
        return {"image": self.picture, "mask_image": self.mask}

    def preview(self) -> np.ndarray:
        """Return the picture with the mask in red: uint8 (size, size, 3)."""
        picture = np.full((self.size, self.size, 3), 224, np.uint8) if self.picture is None else self.picture
        red = picture // 3 + np.array((150, 20, 30), np.uint8)
        return np.where(self.mask[..., None], red, picture)


def _pixels(name: str, value: Any) -> float:
    if isinstance(value, Real) and math.isfinite(value):
        value = max(-_FAR, min(float(value), _FAR))
    return _NUMBER.checked(name, value)
