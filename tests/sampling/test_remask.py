"""Remasking keeps the marginals of mask-and-replace noise, and is the paper's without replacement."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.sampling.toy import NOISY, NUM_CODES, RELEASED, exact_log_x0, forward_matrix, joint
from vqdiffusion_jax.config import ScheduleConfig
from vqdiffusion_jax.diffusion import make_schedule, posterior
from vqdiffusion_jax.sampling import Ancestral, KeyNoise, Remask, all_mask_start, denoise, image_keys

ABSORBING = ScheduleConfig(  # replaces 1e-9 of the tokens that it does not mask
    num_codes=NUM_CODES,
    num_timesteps=10,
    keep_start=0.95 - 1e-10,
    keep_end=1e-5 - 1e-14,
    mask_start=0.05,
    mask_end=1 - 1e-5,
)

jitted_posterior = jax.jit(posterior)


def step_matrix(call, log_x0, states) -> np.ndarray:
    """Return p(x_s | x_t) of one call for every state: (states, num_codes + 1)."""
    drawn = np.exp(np.asarray(jitted_posterior(log_x0, states, call.jump), np.float64))[:, 0]
    remasked = -np.expm1(-np.float64(call.extra))
    masked = np.arange(NUM_CODES + 1) == NUM_CODES
    return drawn * (1 - remasked) + remasked * masked


@pytest.mark.parametrize(
    "strategy", [Remask(0.3), Remask(0.2, "rescale", num_inference_steps=4), Remask(1.0, timesteps=(9, 6, 2))]
)
@pytest.mark.parametrize("config", [NOISY, RELEASED], ids=["noisy", "released"])
def test_any_rate_passes_through_the_exact_marginals(strategy, config):
    schedule, data = make_schedule(config), joint(1)
    log_x0_fn, plan = exact_log_x0(schedule, data), strategy.plan(schedule, 1)
    states = jnp.arange(NUM_CODES + 1)[:, None]
    marginal = data @ forward_matrix(schedule, plan.timestep[0])
    for call in range(len(plan)):
        row = plan[call]
        marginal = marginal @ step_matrix(row, log_x0_fn(states, row.timestep), states)
        s = plan.timestep[call + 1] if call + 1 < len(plan) else -1
        np.testing.assert_allclose(marginal, data @ forward_matrix(schedule, s), atol=2e-5)
    np.testing.assert_allclose(marginal[:NUM_CODES], data, atol=2e-5)


@pytest.mark.parametrize(("rate", "remask_schedule"), [(0.1, "cap"), (0.4, "rescale")])
def test_without_replacement_it_is_the_papers_posterior(rate, remask_schedule):
    """A code stays with probability 1 - sigma; with alpha_t = 1 - C_t, [MASK] becomes k with
    (alpha_s - (1 - sigma) alpha_t) / (1 - alpha_t) p(k).
    """
    schedule, data = make_schedule(ABSORBING), joint(1)
    plan = Remask(rate, remask_schedule, num_inference_steps=5).plan(schedule, 1)
    alpha = 1 - np.append(schedule.cum_mask[plan.timestep], 0.0)
    for call, (alpha_t, alpha_s) in enumerate(zip(alpha[:-1], alpha[1:], strict=True)):
        most = min(1.0, (1 - alpha_s) / alpha_t)
        sigma = min(rate, most) if remask_schedule == "cap" else rate * most
        sigma = min(sigma, 1 - alpha_s)
        assert sigma > 0 or alpha_s == 1
        # p(x_0) is certain where x_t is no mask, as the paper's carry-over makes it.
        log_x0 = jnp.log(jnp.concatenate([jnp.eye(NUM_CODES) + 1e-12, jnp.asarray(data)[None]]))[:, None]
        found = step_matrix(plan[call], log_x0, jnp.arange(NUM_CODES + 1)[:, None])
        revealed = (alpha_s - (1 - sigma) * alpha_t) / (1 - alpha_t)
        expected = np.zeros((NUM_CODES + 1, NUM_CODES + 1))
        expected[:NUM_CODES, :NUM_CODES], expected[:NUM_CODES, NUM_CODES] = (1 - sigma) * np.eye(NUM_CODES), sigma
        expected[NUM_CODES] = [*(revealed * data), 1 - revealed]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def run(strategy, start, schedule, log_x0_fn, first=0):
    plan, noise = strategy.plan(schedule, start.shape[1]), KeyNoise(image_keys(0, first, len(start)))
    return jax.jit(lambda s, p, n, x: denoise(log_x0_fn, s, p, n, x, keep_trajectory=True))(
        strategy, plan, noise, start
    )


def test_rate_zero_is_the_posterior():
    schedule, data = make_schedule(RELEASED), joint(3)
    start, log_x0_fn = all_mask_start(500, 3, NUM_CODES), exact_log_x0(schedule, data)
    np.testing.assert_array_equal(
        run(Remask(0.0, num_inference_steps=4), start, schedule, log_x0_fn)[1],
        run(Ancestral(num_inference_steps=4), start, schedule, log_x0_fn)[1],
    )


def test_revealed_tokens_are_masked_again_at_the_rate_and_none_is_left():
    schedule, data = make_schedule(RELEASED), joint(2)
    start, log_x0_fn = all_mask_start(4000, 2, NUM_CODES), exact_log_x0(schedule, data)
    tokens, path = run(Remask(0.25), start, schedule, log_x0_fn)
    path = np.asarray(path)
    was_code = path[4] < NUM_CODES
    assert abs((path[5] == NUM_CODES)[was_code].mean() - 0.25) < 0.03
    assert (np.asarray(tokens) < NUM_CODES).all()
    for call, t in enumerate(range(8, -1, -1)):
        assert abs((path[call] == NUM_CODES).mean() - schedule.cum_mask[t]) < 0.03
    np.testing.assert_array_equal(
        run(Remask(0.25), start[:1], schedule, log_x0_fn, first=7)[0], tokens[7:8]
    )  # independent of neighbours


def test_a_new_rate_recompiles_nothing():
    schedule, traces = make_schedule(RELEASED), []

    @jax.jit
    def extra(strategy, plan):
        traces.append(strategy)
        return plan.extra

    rates = [np.asarray(extra(strategy, strategy.plan(schedule, 4))) for strategy in (Remask(0.1), Remask(0.2))]
    assert len(traces) == 1 and (rates[0][:-2] < rates[1][:-2]).all()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Remask(1.5), "rate is 1.5"),
        (lambda: Remask(float("nan")), "rate is nan"),
        (lambda: Remask(remask_schedule="max"), "one of cap, rescale"),
        (lambda: Remask(num_inference_steps=11).plan(make_schedule(RELEASED), 4), "1 to 10 steps"),
        (lambda: Remask(timesteps=(3, 3)).plan(make_schedule(RELEASED), 4), "strictly decrease"),
    ],
)
def test_errors_name_what_is_wrong(make, match):
    with pytest.raises(ValueError, match=match) as error:
        make()
    assert "\n" not in str(error.value)
