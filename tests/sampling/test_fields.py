"""Bounds of every number, whatever its field says: those of the arrays that settings become."""

import pytest

from vqdiffusion_jax.errors import SettingError
from vqdiffusion_jax.sampling import EntropyBound, SamplingSettings


@pytest.mark.parametrize("name", ["first_image", "top_k", "num_images_per_prompt", "batch_size", "skip_step"])
@pytest.mark.parametrize("value", [2**31, 2**32 - 1, 10**20, 10**400])
def test_whole_numbers_that_no_array_holds_are_refused(name, value):
    strategy = {"strategy": "fast"} if name == "skip_step" else {}
    bounds = r"of at least \d, below 2\*\*31|from 1 to 1000000"
    with pytest.raises(SettingError, match=rf"^{name} is .*\d.*; it must be a whole number ({bounds})$"):
        SamplingSettings.of(**{name: value}, **strategy)


@pytest.mark.parametrize("value", [1e39, -1e39, 10**400, float("inf"), float("nan")])
def test_numbers_that_no_array_holds_are_refused(value):
    with pytest.raises(SettingError, match="^guidance_scale is .*; it must be a finite number$"):
        SamplingSettings(guidance_scale=value)


def test_the_largest_numbers_are_taken():
    assert SamplingSettings(first_image=2**31 - 1).first_image == 2**31 - 1
    assert EntropyBound(float("inf")).entropy_bound == float("inf")
