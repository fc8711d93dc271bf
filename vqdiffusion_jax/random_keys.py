"""Seeds as random keys: all 63 bits of a seed count, while ``jax.random.key`` reads the lowest 32."""

from __future__ import annotations

from typing import SupportsInt

import jax
import numpy as np

MAX_SEED = 2**63 - 1


def key_of(seed: SupportsInt) -> jax.Array:
    """Return the typed key of a seed from 0 to MAX_SEED; below 2**32 it is ``jax.random.key(seed)``."""
    number = int(seed)
    key = jax.random.key(number & 0xFFFFFFFF)
    return jax.random.fold_in(key, number >> 32) if number >> 32 else key


def in_32_bits(seed: int) -> int:
    """Return a seed of 32 bits for libraries that take no more; below 2**32 it is the seed itself."""
    seed = int(seed)
    return int(np.random.SeedSequence(seed).generate_state(1)[0]) if seed >> 32 else seed
