"""The reference's recorded learning rates, step by step."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.cases import Case
from vqdiffusion_jax.training import learning_rate
from vqdiffusion_jax.training.config import LearningRateConfig


def rates_after_each_step(config: LearningRateConfig, losses) -> np.ndarray:
    advance = jax.jit(functools.partial(learning_rate.update, config))
    state, rates = learning_rate.init(config), []
    np.testing.assert_allclose(state.rate, config.start, rtol=1e-6)
    for loss in losses:
        state = advance(state, jnp.float32(loss))
        rates.append(float(state.rate))
    return np.asarray(rates)


def recorded_number(case: Case, name: str, parameter: str, otherwise: float) -> float:
    """Return a parameter that the README gives beside the array ``name``; ``otherwise`` if it gives none."""
    found = re.search(rf"\b{parameter}\W+([\d.e-]+)", case.meanings.get(name, ""))
    return float(found[1]) if found else otherwise


@pytest.mark.cases("schedules", needs=("lr/plateau_",))
def test_plateau(case: Case):
    number = functools.partial(recorded_number, case, "lr/plateau_loss")
    config = LearningRateConfig(
        schedule="plateau",
        start=number("base lr", 3.0e-6),
        peak=number("warmup_lr", 2.0e-4),
        warmup_steps=int(number("warmup", 10)),
        patience=int(number("patience", 5)),
        threshold=number("threshold", 0.1),
        factor=number("factor", 0.5),
        floor=number("min_lr", 1.0e-6),
    )
    np.testing.assert_allclose(rates_after_each_step(config, case["lr/plateau_loss"]), case["lr/plateau_lr"], rtol=1e-6)


@pytest.mark.cases("schedules", needs=("lr/cosine_",))
def test_cosine(case: Case):
    recorded, number = case["lr/cosine_lr"], functools.partial(recorded_number, case, "lr/cosine_lr")
    config = LearningRateConfig(
        schedule="cosine",
        start=number("base lr", 3.0e-6),
        peak=number("warmup_lr", 4.5e-4),
        warmup_steps=int(number("warmup", 10)),
        total_steps=int(number("T_max", 100)),
        floor=number("min_lr", 1.0e-6),
    )
    np.testing.assert_allclose(rates_after_each_step(config, np.ones(len(recorded))), recorded, rtol=1e-5)


@pytest.mark.cases("text", "class", "none", needs=("solver/lr_after_step",))
def test_solver(case: Case):
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
