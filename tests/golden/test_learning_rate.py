"""The reference's recorded learning rates, step by step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.cases import Case
from vqdiffusion_jax.training import learning_rate
from vqdiffusion_jax.training.config import LearningRateConfig


def rates_after_each_step(config: LearningRateConfig, losses) -> np.ndarray:
    advance = jax.jit(functools.partial(learning_rate.advance, config))
    state, rates = learning_rate.initial(config), []
    np.testing.assert_allclose(state.rate, config.start, rtol=1e-6)
    for loss in losses:
        state = advance(state, jnp.float32(loss))
        rates.append(float(state.rate))
    return np.asarray(rates)


@pytest.mark.cases("schedules")
def test_plateau(case: Case):
    config = LearningRateConfig(schedule="plateau", peak=2.0e-4, warmup_steps=10, patience=5, threshold=0.1)
    np.testing.assert_allclose(rates_after_each_step(config, case["lr/plateau_loss"]), case["lr/plateau_lr"], rtol=1e-6)


@pytest.mark.cases("schedules")
def test_cosine(case: Case):
    recorded = case["lr/cosine_lr"]
    config = LearningRateConfig(schedule="cosine", peak=4.5e-4, warmup_steps=10, total_steps=100)
    np.testing.assert_allclose(rates_after_each_step(config, np.ones(len(recorded))), recorded, rtol=1e-5)


@pytest.mark.cases("text", "class", "none")
def test_solver(case: Case):
    if "solver/lr_after_step" not in case:
        pytest.skip("this case records no training steps")
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads the python tuples of the reference's files as lists."""

    Loader.add_constructor("tag:yaml.org,2002:python/tuple", Loader.construct_sequence)
    solver = yaml.load((case.path / "config.yaml").read_text(), Loader)["solver"]
    recorded = solver["optimizers_and_schedulers"][0]["scheduler"]["params"]
    config = LearningRateConfig(
        schedule="plateau",
        start=float(solver["base_lr"]),
        peak=recorded["warmup_lr"],
        warmup_steps=recorded["warmup"],
        patience=recorded["patience"],
        threshold=recorded["threshold"],
        factor=recorded["factor"],
        floor=float(recorded["min_lr"]),
    )
    np.testing.assert_allclose(
        rates_after_each_step(config, case["solver/loss"]), case["solver/lr_after_step"], rtol=1e-6
    )
