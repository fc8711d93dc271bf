"""Any seed from 0 to 2**63 - 1 gives noise of its own, wherever one is taken."""

import jax
import numpy as np
import pytest

from vqdiffusion_jax.errors import ConfigError
from vqdiffusion_jax.models.shapes import Keys
from vqdiffusion_jax.random_keys import MAX_SEED, in_32_bits, key_of
from vqdiffusion_jax.training.config import RunConfig, WatchConfig

SEEDS = [0, 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**40, MAX_SEED, np.int64(2**41), np.uint64(2**42), np.int32(7)]


def test_every_seed_has_keys_of_its_own():
    keys = {tuple(jax.random.key_data(key_of(seed)).tolist()) for seed in SEEDS}
    networks = {tuple(jax.random.key_data(Keys(seed).params()).tolist()) for seed in SEEDS}
    assert len(keys) == len(networks) == len(SEEDS)
    assert len({in_32_bits(seed) for seed in SEEDS}) == len(SEEDS) and in_32_bits(2**32 - 1) == 2**32 - 1


def test_small_seeds_are_those_of_jax():
    for seed in (0, 5, 2**32 - 1):
        np.testing.assert_array_equal(jax.random.key_data(key_of(seed)), jax.random.key_data(jax.random.key(seed)))


@pytest.mark.parametrize("seed", SEEDS)
def test_configurations_take_it(seed):
    config = RunConfig(batch_size=1, steps=1, seed=seed)
    assert config.seed == seed and type(config.seed) is int
    assert WatchConfig(sample_seed=seed).sample_seed == seed


@pytest.mark.parametrize("seed", [-1, 2**63, True, 1.0, "1", None])
def test_others_are_refused_in_one_line_that_names_the_setting(seed):
    for make, name in (
        (lambda: RunConfig(batch_size=1, steps=1, seed=seed), "RunConfig.seed"),
        (lambda: WatchConfig(sample_seed=seed), "WatchConfig.sample_seed"),
    ):
        with pytest.raises(ConfigError, match=f"{name} is .* whole number") as caught:
            make()
        assert "\n" not in str(caught.value)
