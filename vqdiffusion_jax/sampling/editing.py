"""Starts of sampling (all masked, partly noised, for inpainting) and the pixels that inpainting keeps."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import Tokens
from ..diffusion.schedule import Schedule, check_timesteps
from ..diffusion.transitions import forward_log_prob_tokens, sample_categorical
from ..errors import SettingError
from .noise import Noise


def all_mask_start(batch: int, num_tokens: int, num_codes: int) -> Tokens:
    """Return tokens that are all [MASK]: (batch, num_tokens) int32 filled with num_codes."""
    return jax.device_put(np.full((batch, num_tokens), num_codes, np.int32))  # compiles nothing


def first_timestep_of(strength: float, num_timesteps: int) -> int:
    """Return the timestep to noise to, int(num_timesteps * strength) - 1, as the released code counts.

    strength: in (0, 1]; 1 noises all the way.
    Raises SettingError for a strength outside (0, 1], or so small that no step is left.
    """
    if not 0.0 < strength <= 1.0:
        raise SettingError("{strength} is {value}; it must lie in (0, 1]", value=strength)
    steps = int(num_timesteps * strength)
    if steps < 1:
        told = "{strength} is {value}, which leaves no step of {num_timesteps}; use at least {least:g}"
        raise SettingError(told, value=strength, num_timesteps=num_timesteps, least=1 / num_timesteps)
    return steps - 1


def noised_start(tokens: Tokens, first_timestep: int, schedule: Schedule, noise: Noise) -> Tokens:
    """Draw x_t from q(x_t | x_0 = tokens) at t = first_timestep; ``Ancestral(first_timestep=t)`` goes on from there.

    tokens: (batch, length) int32, clean or partly [MASK].  Returns (batch, length) int32.
    It uses noise draw 0, so ``denoise`` is then called with first_call=1.
    """
    check_timesteps(first_timestep, schedule.num_timesteps)
    log_prob = forward_log_prob_tokens(jnp.asarray(tokens), schedule.marginals()[first_timestep], schedule.num_codes)
    return sample_categorical(log_prob, noise.gumbel(0, log_prob.shape))


def token_mask(pixel_mask: jax.Array, grid: tuple[int, int]) -> jax.Array:
    """Return a mask of the tokens whose cell holds any masked pixel.

    pixel_mask: (height, width) or (batch, height, width), masked where it is not 0; grid: (rows, columns) of tokens.
    Returns (length,) or (batch, length) bool, row by row, True where tokens are to be drawn.
    Raises ValueError if the picture does not divide into the grid.
    """
    mask = jnp.asarray(pixel_mask) != 0
    rows, columns = grid
    if mask.ndim not in (2, 3) or mask.shape[-2] % rows or mask.shape[-1] % columns:
        raise ValueError(
            f"pixel_mask has shape {mask.shape}; it must be ([batch,] height, width) and divide into a "
            f"{rows} x {columns} grid"
        )
    height, width = mask.shape[-2:]
    cells = mask.reshape(*mask.shape[:-2], rows, height // rows, columns, width // columns)
    return jnp.any(cells, axis=(-3, -1)).reshape(*mask.shape[:-2], rows * columns)


def inpainting_start(
    tokens: jax.Array, masked: jax.Array, num_codes: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """Return the start of inpainting, [MASK] where ``masked``, and the pair ``known`` that ``denoise`` imposes.

    tokens: (batch, length) int32; masked: (length,) or (batch, length) bool.
    Returns the start (batch, length) int32 and (mask of known tokens, tokens), both (batch, length).
    """
    tokens = jnp.asarray(tokens, jnp.int32)
    masked = jnp.broadcast_to(jnp.asarray(masked, bool), tokens.shape)
    return jnp.where(masked, num_codes, tokens), (~masked, tokens)


def composite(original: jax.Array, generated: jax.Array, pixel_mask: jax.Array) -> jax.Array:
    """Return ``generated`` where pixel_mask is not 0 and, bit for bit, ``original`` elsewhere.

    original, generated: (batch, height, width, channels) of one dtype; pixel_mask: ([batch,] height, width).
    Raises ValueError if shapes or dtypes differ.
    """
    original, generated = jnp.asarray(original), jnp.asarray(generated)
    mask = jnp.asarray(pixel_mask) != 0
    if original.shape != generated.shape or original.dtype != generated.dtype:
        raise ValueError(
            f"original is {original.dtype}{original.shape} and generated {generated.dtype}{generated.shape}; "
            "they must be alike"
        )
    if mask.ndim not in (2, 3) or mask.shape[-2:] != original.shape[-3:-1]:
        raise ValueError(
            f"pixel_mask has shape {mask.shape}; it must be ([batch,] {original.shape[-3]}, {original.shape[-2]}), "
            "as the pictures"
        )
    return jnp.where(mask[..., None], generated, original)


def outpaint(
    picture: Any, size: int, *, left: float = 0.0, top: float = 0.0, right: float = 0.0, bottom: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``image`` and ``mask_image`` of a call that paints margins around a picture.

    The canvas is square and nothing of the picture is cut away: it is scaled, in its own proportions, to the largest
    size that fits between the margins, and centred there.  The space that its shape leaves is painted too.

    picture: PIL image, or uint8 (height, width, 3).  It is made upright, and transparency is composed on white.
    size: side of the canvas in pixels, the codec's image_size.
    left, top, right, bottom: least margins, as fractions of the canvas.
    Returns the canvas, uint8 (size, size, 3), with the picture's edge repeated around it, and the mask, (size, size)
    bool, True around the picture.
    Raises SettingError if the margins are negative, all 0, or leave nothing, PictureError for what is no picture.
    """
    from PIL import Image

    from ..pictures import in_rgb

    whole = in_rgb(picture if isinstance(picture, Image.Image) else np.asarray(picture))
    margins = (left, top, right, bottom)
    x0, y0, x1, y1 = round(size * left), round(size * top), size - round(size * right), size - round(size * bottom)
    if not all(0.0 <= margin < 1.0 for margin in margins) or x1 <= x0 or y1 <= y0:
        told = "{outpaint} is {value}: left, top, right, bottom must lie in [0, 1) and leave room for the picture"
        raise SettingError(told, value=margins)
    if (x0, y0, x1, y1) == (0, 0, size, size):
        raise SettingError("{outpaint} is {value}: at least one margin must be a pixel wide", value=margins)
    scale = min((x1 - x0) / whole.width, (y1 - y0) / whole.height)
    width, height = max(1, round(whole.width * scale)), max(1, round(whole.height * scale))
    x0, y0 = x0 + (x1 - x0 - width) // 2, y0 + (y1 - y0 - height) // 2
    x1, y1 = x0 + width, y0 + height
    inside = np.asarray(whole.resize((width, height), Image.Resampling.BICUBIC))
    mask = np.ones((size, size), bool)
    mask[y0:y1, x0:x1] = False
    return np.pad(inside, ((y0, size - y1), (x0, size - x1), (0, 0)), mode="edge"), mask
