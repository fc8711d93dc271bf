"""Checks of given noise, made on the host: a device reads an array's last row where an index is past its end."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..config import ModelConfig
from ..errors import SettingError
from ..programs import padded_length
from ..sampling import KeyNoise, Noise, Plan, RecordedNoise
from ..sampling.noise import keys_at

_MOST_PADDED_BYTES = 2**28


def check_noise(noise: Any, count: int, config: ModelConfig, plan: Plan, first_calls: int) -> None:
    """Raise SettingError unless ``noise`` holds every draw of ``count`` pictures.

    first_calls: the number of draws before the plan's.
    """
    if isinstance(noise, KeyNoise):
        if not jnp.issubdtype(noise.keys.dtype, jax.dtypes.prng_key) or noise.keys.shape != (count,):
            found = f"{noise.keys.dtype}{list(noise.keys.shape)}"
            told = "{noise} has keys {value} for {count} pictures; give one key of jax.random.key a picture"
            raise SettingError(told, value=found, count=count)
        return
    if not isinstance(noise, RecordedNoise):
        told = "{noise} is a {value}; give a RecordedNoise or KeyNoise of vqdiffusion_jax.sampling"
        raise SettingError(told, value=type(noise).__name__)
    draws, tokens = len(plan) + first_calls, config.denoiser.num_tokens
    _check_recorded("uniforms", noise.uniforms, draws, (count, tokens, config.denoiser.num_codes + 1))
    if noise.exponentials is not None:
        _check_recorded("exponentials", noise.exponentials, draws, (count, tokens))
    elif np.any(np.asarray(plan.reveal) > 0):
        raise SettingError(
            "{noise} has no exponentials, by which this strategy chooses positions; record (draws, pictures, tokens)"
        )


def _check_recorded(name: str, recorded: Any, draws: int, rest: tuple[int, ...]) -> None:
    """Raise SettingError unless ``recorded`` is (at least ``draws``, *rest)."""
    shape = tuple(np.shape(recorded))
    if len(shape) != 1 + len(rest) or shape[1:] != rest or shape[0] < draws:
        told = (
            f"{{noise}}.{name} has shape {{value}}; this call needs {{needed}}, or more draws: "
            "(draws, pictures, tokens, ...)"
        )
        raise SettingError(told, value=shape, needed=(draws, *rest))


def noise_rows(noise: Noise, rows: np.ndarray) -> Noise:
    """Return the noise of the pictures ``rows``."""
    if isinstance(noise, KeyNoise):
        return KeyNoise(keys_at(noise.keys, rows))
    return jax.tree.map(lambda leaf: leaf[:, rows], noise)


def padded_noise(noise: Noise) -> Noise:
    """Return recorded noise with its last draw repeated, up to one of a few numbers of draws, unless it grows large."""
    if isinstance(noise, KeyNoise) or noise.num_draws is None:
        return noise
    draws = padded_length(noise.num_draws)
    if draws == noise.num_draws or draws * np.size(noise.uniforms[0]) * 4 > _MOST_PADDED_BYTES:
        return noise
    more = np.minimum(np.arange(draws), noise.num_draws - 1)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[more], noise)
