"""The noise schedule that a training checkpoint stores, told apart by its buffers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import ml_dtypes
import numpy as np

from ...config import DENOMINATORS, ScheduleConfig
from ...diffusion.schedule import make_schedule
from ...errors import ConversionError
from .denoiser import PREFIX

_TOLERANCE = 1.0e-4  # in log, for float32; the two denominators differ by 2.4e-4 or more

_COARSE = (ml_dtypes.bfloat16, np.float16)


def _spacing(values: np.ndarray) -> float:
    """Return the spacing near 1 of the coarsest type that holds all of the float64 values.

    Half precision shows in the numbers themselves, whatever type they were saved as afterwards.
    """
    fitting = (kind for kind in _COARSE if np.array_equal(values.astype(kind).astype(np.float64), values))
    return float(ml_dtypes.finfo(next(fitting, np.float32)).eps)


def denominator_of(tensors: Mapping[str, Any], *, num_codes: int, num_timesteps: int) -> tuple[str, list[str]]:
    """Return ScheduleConfig.denominator, and remarks: files from before spring 2022 may divide by K + 1 instead of K.

    Raises ConversionError for a schedule that is not the released one (alpha1).
    """
    name = f"{PREFIX}log_cumprod_bt"
    if name not in tensors or isinstance(tensors[name], jax.ShapeDtypeStruct):
        return "num_codes", []
    buffers = ("at", "bt", "ct", "cumprod_bt")
    found = {buffer: np.asarray(tensors[f"{PREFIX}log_{buffer}"], np.float64) for buffer in buffers}
    if any(len(values) < num_timesteps for values in found.values()):
        raise ConversionError(
            f"the noise schedule in the file has {len(found['at'])} steps; {num_timesteps} are expected"
        )
    difference = {}
    for denominator in DENOMINATORS:
        schedule = make_schedule(
            ScheduleConfig(num_codes=num_codes, num_timesteps=num_timesteps, denominator=denominator)
        )
        ours = {
            "at": schedule.keep,
            "bt": schedule.uniform,
            "ct": schedule.mask,
            "cumprod_bt": schedule.cum_uniform[:num_timesteps],
        }
        difference[denominator] = max(
            float(np.abs(found[buffer][:num_timesteps] - np.log(ours[buffer])).max()) for buffer in buffers
        )
    # A checkpoint saved again in half precision has rounded logarithms, which may not tell the denominators apart.
    rounding = max(_spacing(values) * np.abs(values[:num_timesteps]).max() for values in found.values())
    tolerance = max(_TOLERANCE, rounding)
    fitting = [denominator for denominator in DENOMINATORS if difference[denominator] < tolerance]
    best = min(difference, key=difference.__getitem__)
    if rounding > _TOLERANCE and len(fitting) > 1:
        return "num_codes", ["noise schedule: stored in half precision, so taken to divide by K, as in today's files"]
    if best not in fitting:
        raise ConversionError(
            f"the file's noise schedule is not the released one (alpha1): its logarithms differ by "
            f"{difference[best]:.2g}; such models are not supported"
        )
    divisor = "K + 1" if best == "num_codes_plus_one" else "K"
    return best, [f"noise schedule: divides by {divisor} (differs by {difference[best]:.1g} in log)"]
