"""Lines at the start of a run on few pictures."""

import pytest

from vqdiffusion_jax.training.config import RunConfig, WatchConfig
from vqdiffusion_jax.training.few_pictures import few_pictures

CONFIG = RunConfig(batch_size=32, steps=1, watch=WatchConfig(num_samples=16))


@pytest.mark.parametrize(
    "counts, told",
    [
        ((3000, 160, 16), []),
        ((32, None, None), []),
        ((57, 3, 3), ["batch_size is 32, but 3 are for validation", "watch.num_samples is 16, but there are 3"]),
        ((20, None, 16), ["batch_size is 32, but 20 are for training"]),
    ],
)
def test_field_value_and_counts(counts, told):
    lines = few_pictures(CONFIG, *counts)
    assert len(lines) == len(told)
    assert all(line.startswith("few pictures: ") and part in line for line, part in zip(lines, told))
