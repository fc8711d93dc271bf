"""Pictures and masks that a request brings, by OpenAI's convention: what is transparent is painted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from ..errors import ApiError, PictureError, SettingError
from ..pictures import fit_mask, fit_picture
from ..sampling import outpaint
from ..web.uploads import decoded
from .limits import Limits

IMAGE, MASK = "image", "mask"
PAINTED = "transparent, in the central square"


def start_of(files: Mapping[str, bytes], fields: Mapping[str, Any], size: int, limits: Limits) -> dict[str, Any]:
    """Return the fields ``image`` and ``mask_image`` of the call that files begin.

    files: of ``image`` and perhaps ``mask``.  fields: of the request; ``outpaint`` is done here.
    size: side of the model's pictures in pixels.  A larger or oblong picture loses its margins and is scaled.
    Returns image, uint8 (size, size, 3), and mask_image, bool (size, size), True where to paint, if there is one.
    Raises ApiError for files that are no pictures, do not go together, or leave open what to paint.
    """
    if IMAGE not in files:
        raise ApiError("image is missing; send the picture to change as a file", param=IMAGE, code="missing_parameter")
    picture = _opened(IMAGE, files[IMAGE], limits)
    if "outpaint" in fields:
        if MASK in files:
            raise ApiError("mask and outpaint are both given; give one", param=MASK, code="invalid_value")
        return _extended(picture, fields["outpaint"], size)
    image = np.asarray(fit_picture(picture, size))
    if MASK in files:
        mask = _opened(MASK, files[MASK], limits)
        if mask.size != picture.size:
            told = f"mask is {_pixels(mask)} and image {_pixels(picture)} pixels; they must be alike"
            raise ApiError(told, param=MASK, code="invalid_value")
        if _is_opaque(mask):
            told = "mask has no transparent pixel; make transparent what is to be painted"
            raise ApiError(told, param=MASK, code="invalid_value")
        return {"image": image, "mask_image": _transparent(mask, size)}
    if not _is_opaque(picture):
        return {"image": image, "mask_image": _transparent(picture, size)}
    if "strength" in fields:
        return {"image": image}
    told = "what to paint is open: send a mask, or an image, transparent there; or give strength, or outpaint"
    raise ApiError(told, param=MASK, code="missing_parameter")


def _opened(name: str, data: bytes, limits: Limits) -> Image.Image:
    if len(data) > limits.upload_bytes:
        told = f"{name} has {len(data):,} bytes; at most {limits.upload_bytes:,} are taken"
        raise ApiError(told, param=name, code="invalid_value")
    try:
        return decoded(data, most_pixels=limits.upload_pixels, background=None)
    except PictureError as error:
        raise ApiError(f"{name} cannot be used: {error}", param=name, code="invalid_image") from error


def _extended(picture: Image.Image, margins: Any, size: int) -> dict[str, Any]:
    if not isinstance(margins, list) or len(margins) != 4:
        told = "outpaint must be four numbers with commas between: left, top, right, bottom"
        raise ApiError(told, param="outpaint", code="invalid_value")
    left, top, right, bottom = margins
    try:
        image, mask = outpaint(picture, size, left=left, top=top, right=right, bottom=bottom)
    except (PictureError, SettingError) as error:
        raise ApiError(f"outpaint cannot be used: {error}", param="outpaint", code="invalid_value") from error
    return {"image": image, "mask_image": mask}


def _is_opaque(picture: Image.Image) -> bool:
    return picture.mode != "RGBA" or np.asarray(picture.getchannel("A")).min() >= 128


def _transparent(picture: Image.Image, size: int) -> np.ndarray:
    """Return where a picture's centre square is transparent: (size, size) bool."""
    transparent = np.asarray(picture.getchannel("A")) < 128
    return fit_mask(Image.fromarray(transparent.astype(np.uint8) * 255), size)


def _pixels(picture: Image.Image) -> str:
    return f"{picture.width} x {picture.height}"
