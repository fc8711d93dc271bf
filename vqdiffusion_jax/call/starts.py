"""Starts other than all [MASK]: a picture, a mask of the part to paint, or tokens."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Any

import jax
import numpy as np

from ..config import ModelConfig, VQGANConfig
from ..diffusion.transitions import check_tokens
from ..errors import SettingError
from ..pictures import fit_mask, fit_picture, open_picture
from ..sampling.editing import outpaint
from ..sampling.settings import SamplingSettings


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Given:
    """A start other than all [MASK]: arrays with one row a picture or one row for all, or None.

    tokens: (n, length) int32.  images: (n, height, width, channels) uint8.  mask: (n, height, width) bool, True where
    to paint.
    """

    tokens: np.ndarray | None = None
    images: np.ndarray | None = None
    mask: np.ndarray | None = None


def given_start(config: ModelConfig, settings: SamplingSettings, first_timestep: int | None, count: int) -> Given:
    """Return the start of ``count`` pictures.  Raises SettingError if it does not fit the model or the count."""
    codec, image, mask_image = config.codec, settings.image, settings.mask_image
    if settings.outpaint is not None:
        left, top, right, bottom = settings.outpaint
        whole = open_picture(image, "image") if isinstance(image, str | PathLike) else image
        image, mask_image = outpaint(whole, codec.image_size, left=left, top=top, right=right, bottom=bottom)
    if image is not None:
        mask = None if mask_image is None else mask_of(mask_image, codec, count)
        return Given(images=pictures_of(image, codec, count), mask=mask)
    if settings.latents is None:
        return Given()
    tokens, shape = np.asarray(settings.latents), (count, config.denoiser.num_tokens)
    try:
        check_tokens(tokens, config.denoiser.num_codes, allow_mask=True)
    except ValueError as error:
        raise SettingError("{latents}: {reason}", reason=error) from error
    if tokens.shape != shape:
        told = "{latents} has shape {value}; it must be {allowed}, one grid a picture"
        raise SettingError(told, value=tokens.shape, allowed=shape)
    return Given(tokens=tokens.astype(np.int32))


def pictures_of(images: Any, codec: VQGANConfig, count: int | None = None) -> np.ndarray:
    """Return pictures (n, height, width, channels) uint8; n is 1 or ``count``, or any number without ``count``.

    images: files, PIL images or uint8 arrays, one or several.  Files are fitted to the codec's size; others must have
    it.
    Raises SettingError for another size or another number of pictures.
    """
    arrays = [_pixels(image, codec.image_size) for image in ([images] if _is_one(images) else images)]
    size = (codec.image_size, codec.image_size, codec.image_channels)
    for array in arrays:
        if array.dtype != np.uint8 or array.shape != size:
            told = "{image} is {value}; it must be {allowed}, so resize and crop it first"
            raise SettingError(told, value=f"{array.dtype}{array.shape}", allowed=f"uint8{size}")
    if not arrays or count is not None and len(arrays) not in (1, count):
        told = "{image} holds {value} pictures for {count}; give one, or one a picture"
        raise SettingError(told, value=len(arrays), count=count or "some")
    return np.stack(arrays)


def mask_of(mask_image: Any, codec: VQGANConfig, count: int) -> np.ndarray:
    """Return a mask, (1, height, width) or (count, height, width) bool, True where to paint.

    mask_image: one or several; arrays are painted where not 0, files and PIL images where at least half bright.
    Raises SettingError for another size or another number of masks.
    """
    size = codec.image_size
    several = isinstance(mask_image, list | tuple) and mask_image
    mask = np.stack([_mask(one, size) for one in mask_image]) if several else _mask(mask_image, size)
    if mask.ndim not in (2, 3) or mask.shape[-2:] != (size, size):
        told = "{mask_image} has shape {value}; it must be {allowed}, as the image"
        raise SettingError(told, value=mask.shape, allowed=(size, size))
    mask = mask[None] if mask.ndim == 2 else mask
    if len(mask) not in (1, count):
        told = "{mask_image} has {value} masks for {count} pictures; give one, or one a picture"
        raise SettingError(told, value=len(mask), count=count)
    return mask


def rows_of(array: Any, rows: np.ndarray) -> Any:
    """Return the pictures ``rows`` of an array with one row a picture or one row for all."""
    return array[np.minimum(rows, len(array) - 1)]


def _is_one(images: Any) -> bool:
    """Return True for one picture: a file, a PIL image or an array of three axes."""
    if isinstance(images, list | tuple):
        return False
    return isinstance(images, str | PathLike) or hasattr(images, "convert") or np.ndim(images) == 3


def _pixels(image: Any, size: int) -> np.ndarray:
    if isinstance(image, str | PathLike):
        image = fit_picture(open_picture(image, "image"), size)
    return np.asarray(image.convert("RGB") if hasattr(image, "convert") else image)


def _mask(mask_image: Any, size: int) -> np.ndarray:
    if isinstance(mask_image, str | PathLike):
        return fit_mask(open_picture(mask_image, "mask_image"), size)
    if hasattr(mask_image, "convert"):
        return np.asarray(mask_image.convert("L")) >= 128
    return np.asarray(mask_image) != 0
