"""Programs beside the denoising loop: pictures to tokens, tokens to the first ones of a loop, tokens to pictures."""

from __future__ import annotations

import functools
from typing import Any

import jax

from .diffusion.schedule import Schedule
from .generation import render
from .models.layers import over_batch, replicated
from .models.vqdiffusion import VQDiffusionModel
from .models.vqgan import encode_exactly, images_to_float
from .programs import bounded_jit
from .sampling import Noise, inpainting_start, noised_start, token_mask

_ENCODER_DRAW = 2**30  # number of the encoder's noise draw, beyond every draw of the sampler


@bounded_jit
def encoder_keys(keys: jax.Array) -> jax.Array:
    """Return the keys by which a "gumbel" codec draws the tokens of given images: (batch,) typed keys."""
    return jax.vmap(lambda key: jax.random.fold_in(key, _ENCODER_DRAW))(keys)


@bounded_jit
def encode(model: VQDiffusionModel, pictures: Any, keys: jax.Array | None) -> jax.Array:
    """Return the tokens (batch, length) int32 of pictures (batch, height, width, channels) uint8."""
    return replicated(encode_exactly(model.codec, images_to_float(pictures), key=keys))


@functools.partial(bounded_jit, static_argnames=("grid", "schedule"))
def begin(
    tokens: jax.Array,
    mask: jax.Array | None,
    first_timestep: int | None,
    noise: Noise,
    *,
    grid: tuple[int, int],
    schedule: Schedule,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array] | None]:
    """Return ``start`` and ``known`` of a Request from the given tokens (batch, length)."""
    start, known = tokens, None
    if mask is not None:
        start, known = inpainting_start(tokens, token_mask(mask, grid), schedule.num_codes)
    if first_timestep is not None:
        start = noised_start(tokens, first_timestep, schedule, noise)
    return jax.tree.map(over_batch, (start, known))


@functools.partial(bounded_jit, static_argnames=("rounding",))
def decode(model: VQDiffusionModel, tokens: jax.Array, rounding: str) -> jax.Array:
    """Return the pictures (batch, height, width, channels) uint8 of tokens (batch, length)."""
    pictures = render(model, tokens, "uint8", rounding)
    assert pictures is not None  # as for every output but "tokens"
    return replicated(pictures)
