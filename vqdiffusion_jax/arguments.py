"""The former place of checks of a call's arguments, kept for one release; see ``call`` and ``sampling.seeds``."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from .call.starts import mask_of as paint_mask
from .call.starts import pictures_of as pictures
from .sampling.noise import KeyNoise
from .sampling.seeds import checked_seeds, noise_of

__all__ = ["fresh_noise", "paint_mask", "pictures"]


def fresh_noise(seed: Any, subjects: Sequence[Hashable], first_image: int) -> KeyNoise:
    """Return ``noise_of`` a seed that is checked here.  Raises SettingError for what is no seed."""
    return noise_of(checked_seeds(seed), subjects, first_image)
