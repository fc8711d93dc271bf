"""Our posterior beside that of diffusers' VQDiffusionScheduler."""

import jax
import numpy as np
import pytest

from vqdiffusion_jax.config import ScheduleConfig
from vqdiffusion_jax.diffusion.schedule import make_schedule
from vqdiffusion_jax.diffusion.transitions import posterior

CODES, TIMESTEPS, LENGTH = 23, 100, 12


@pytest.fixture(scope="module")
def scheduler():
    pytest.importorskip("torch")
    diffusers = pytest.importorskip("diffusers")
    return diffusers.VQDiffusionScheduler(num_vec_classes=CODES + 1, num_train_timesteps=TIMESTEPS)


@pytest.fixture(scope="module")
def schedule():
    return make_schedule(ScheduleConfig(num_codes=CODES, num_timesteps=TIMESTEPS))


def test_schedules_agree(scheduler, schedule):
    steps, marginals = schedule.steps(), schedule.marginals()
    for ours, theirs in (
        (steps.log_keep, scheduler.log_at),
        (steps.log_uniform, scheduler.log_bt),
        (steps.log_mask, scheduler.log_ct),
        (marginals.log_keep[:-1], scheduler.log_cumprod_at[:-1]),
        (marginals.log_uniform[:-1], scheduler.log_cumprod_bt[:-1]),
        (marginals.log_mask[:-1], scheduler.log_cumprod_ct[:-1]),
    ):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("t", [1, 2, 50, 98, 99])
@pytest.mark.parametrize("sharpness", [1.0, 8.0])
def test_posteriors_agree(scheduler, schedule, t, sharpness):
    import torch

    rng = np.random.default_rng(t)
    log_x0 = np.array(jax.nn.log_softmax(sharpness * rng.standard_normal((2, LENGTH, CODES)).astype(np.float32)))
    x_t = np.where(rng.random((2, LENGTH)) < 0.5, CODES, rng.integers(0, CODES, (2, LENGTH)))
    expected = (
        scheduler.q_posterior(torch.from_numpy(log_x0).permute(0, 2, 1), torch.from_numpy(x_t), t)
        .permute(0, 2, 1)
        .numpy()
    )
    ours = np.asarray(posterior(log_x0, x_t.astype(np.int32), schedule.one_step_jumps()[t]))
    np.testing.assert_allclose(np.exp(ours), np.exp(expected), atol=5e-6)
    likely = expected > -60  # theirs is not clamped at -70
    np.testing.assert_allclose(ours[likely], expected[likely], atol=2e-5)


def test_truncated_predictions_agree(scheduler, schedule):
    """Codes cut off stand at -70; the posterior then sums to what was kept on both sides."""
    import torch

    rng = np.random.default_rng(0)
    log_x0 = np.array(jax.nn.log_softmax(rng.standard_normal((1, LENGTH, CODES)).astype(np.float32)))
    log_x0[..., CODES // 2 :] = -70.0
    x_t = np.array([[CODES, 3] * (LENGTH // 2)])
    expected = (
        scheduler.q_posterior(torch.from_numpy(log_x0).permute(0, 2, 1), torch.from_numpy(x_t), 40)
        .permute(0, 2, 1)
        .numpy()
    )
    ours = np.asarray(posterior(log_x0, x_t.astype(np.int32), schedule.one_step_jumps()[40]))
    np.testing.assert_allclose(np.exp(ours), np.exp(expected), atol=5e-6)
