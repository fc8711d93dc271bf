"""Seeds, from which the noise of a call's pictures comes: a number, a key, or one of them a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import SettingError, one_line
from ..random_keys import MAX_SEED
from .noise import KeyNoise, image_keys, keys_at

Seed = int | jax.Array  # a whole number from 0 to MAX_SEED, or a typed key of jax.random.key


def checked_seeds(seed: Any) -> Seed | tuple[Seed, ...]:
    """Return one seed, or a tuple of one a picture.  Raises SettingError for anything else."""
    several = isinstance(seed, list | tuple)
    if isinstance(seed, np.ndarray | jax.Array):
        if isinstance(seed, jax.Array) and seed.dtype == jnp.uint32 and seed.ndim >= 1:
            raise SettingError("{seed} is a key of jax.random.PRNGKey; give a whole number, or a key of jax.random.key")
        several = seed.ndim == 1
        if several and not jnp.issubdtype(seed.dtype, jax.dtypes.prng_key):
            seed = np.asarray(seed).tolist()
    return tuple(checked_seed(one) for one in seed) if several else checked_seed(seed)


def checked_seed(seed: Any) -> Seed:
    """Return one seed: a whole number or a typed key.  Raises SettingError for anything else."""
    if isinstance(seed, jax.Array) and jnp.issubdtype(seed.dtype, jax.dtypes.prng_key) and seed.ndim == 0:
        return seed
    if isinstance(seed, np.ndarray | np.generic | jax.Array) and seed.ndim == 0:
        seed = seed.item()
    number = -1 if isinstance(seed, bool) or not isinstance(seed, Integral) else int(seed)
    if not 0 <= number <= MAX_SEED:
        allowed = "a whole number from 0 to 2**63 - 1, a jax.random.key, or a list with one a picture"
        raise SettingError("{seed} is {value}; give {allowed}", value=one_line(repr(seed)), allowed=allowed)
    return number


def noise_of(seed: Seed | Sequence[Seed], subjects: Sequence[Hashable], first_image: int) -> KeyNoise:
    """Return the noise of a call's pictures, a key each.

    seed: one for each picture; or one for all, whose keys differ by a picture's number among those of its subject.
    subjects: the subject of each picture.  first_image: number of the first picture of each subject.
    Raises SettingError for a list of seeds of another length.
    """
    if not isinstance(seed, int | jax.Array):
        if len(seed) != len(subjects):
            told = "{seed} holds {value} seeds for {count} pictures; give one number, or one a picture"
            raise SettingError(told, value=len(seed), count=len(subjects))
        keys = [image_keys(one, first_image, 1) for one in seed]
        data = np.concatenate([np.asarray(jax.random.key_data(key)) for key in keys])
        return KeyNoise(jax.random.wrap_key_data(jax.device_put(data), impl=jax.random.key_impl(keys[0])))
    numbers = occurrences(subjects)
    return KeyNoise(keys_at(image_keys(seed, first_image, max(numbers) + 1), np.asarray(numbers)))


def occurrences(subjects: Iterable[Hashable]) -> list[int]:
    """Return the number of equal subjects before each."""
    seen: Counter = Counter()
    numbers = []
    for subject in subjects:
        numbers.append(seen[subject])
        seen[subject] += 1
    return numbers
