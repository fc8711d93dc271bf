"""Starts other than all [MASK]: a picture, a mask of the part to paint, or tokens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from typing import Any

import jax
import numpy as np
from PIL import Image

from ..config import ModelConfig, VQGANConfig
from ..diffusion.transitions import check_tokens
from ..errors import PictureError, SettingError
from ..pictures import fit_mask, fit_picture, in_rgb, open_picture, painted, painted_channels
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
        try:
            image, mask_image = outpaint(whole, codec.image_size, left=left, top=top, right=right, bottom=bottom)
        except PictureError as error:
            raise SettingError("{image} cannot be used: {reason}", reason=error) from error
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
    it.  Arrays may have 1 to 4 channels, or be grey without a channel axis.  Transparency is composed on white.
    Raises SettingError for another size, another number of pictures, or what is no picture.
    """
    one = _is_one(images) or not isinstance(images, Iterable)
    try:
        arrays = [_pixels(image, codec.image_size) for image in ([images] if one else images)]
    except PictureError as error:
        raise SettingError("{image} cannot be used: {reason}", reason=error) from error
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

    mask_image: files, PIL images or arrays, one or several, painted where light and visible (see ``painted``).  Files
    are fitted to the codec's size; others must have it.
    Raises SettingError for another size, another number of masks, or what is no mask.
    """
    size = codec.image_size
    several = isinstance(mask_image, list | tuple) and mask_image and all(map(_is_mask, mask_image))
    try:
        masks = [_mask(one, size) for one in (mask_image if several else [mask_image])]
    except PictureError as error:
        raise SettingError("{mask_image} cannot be used: {reason}", reason=error) from error
    mask = next((one for one in masks if one.shape != (size, size)), masks[0])
    if several and mask.shape == (size, size):
        mask = np.stack(masks)
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
    return isinstance(images, str | PathLike | Image.Image) or np.ndim(images) in (2, 3)


def _pixels(image: Any, size: int) -> np.ndarray:
    if isinstance(image, str | PathLike):
        return np.asarray(fit_picture(open_picture(image, "image"), size))
    if isinstance(image, Image.Image):
        return np.asarray(in_rgb(image))
    pixels = _array(image)
    grey_or_alpha = pixels.ndim == 2 or pixels.ndim == 3 and pixels.shape[2] in (1, 2, 4)
    return np.asarray(in_rgb(pixels)) if pixels.dtype == np.uint8 and grey_or_alpha else pixels


def _mask(mask_image: Any, size: int) -> np.ndarray:
    if isinstance(mask_image, str | PathLike):
        return fit_mask(open_picture(mask_image, "mask_image"), size)
    if isinstance(mask_image, Image.Image):
        return painted(mask_image)
    values = _array(mask_image)
    has_channels = values.shape[-3:-1] == (size, size) and values.shape[-1] in (1, 2, 3, 4)
    return painted_channels(values) if has_channels else painted(values)


def _is_mask(one: Any) -> bool:
    """Return True for a mask of its own, and False for a row of numbers of one mask."""
    return isinstance(one, str | PathLike | Image.Image) or np.ndim(one) >= 2


def _array(values: Any) -> np.ndarray:
    try:
        return np.asarray(values)
    except (ValueError, TypeError) as error:  # for instance rows of different lengths
        raise PictureError(f"it is no array: {error}") from error
