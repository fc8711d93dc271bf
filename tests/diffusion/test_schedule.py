"""The schedule against typed-in values, explicit matrix products and its own identities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqdiffusion_jax.config import ScheduleConfig
from vqdiffusion_jax.diffusion import check_timesteps, make_schedule
from vqdiffusion_jax.errors import ConfigError

# t, keep, mask, cumulative keep, cumulative mask, and ln of each, for 100 timesteps
GOLDEN = [
    (0, 0.99999, 9e-06, 0.99999, 9e-06, -1.00000e-5, -11.6182861, -1.00000e-5, -11.6182861),
    (1, 0.989899081, 0.0101009091, 0.989889182, 0.0101098182, -0.0101523, -4.5951300, -0.0101623, -4.5942483),
    (2, 0.989796011, 0.0102039785, 0.979788364, 0.0202106364, -0.0102564, -4.5849776, -0.0204187, -3.9015462),
    (49, 0.980392499, 0.0196074625, 0.505049909, 0.494949091, -0.0198023, -3.9318449, -0.6830980, -0.7033004),
    (97, 0.666765639, 0.333223368, 0.0202106364, 0.979788364, -0.4053167, -1.0989423, -3.9015462, -0.0204187),
    (98, 0.500222655, 0.499752618, 0.0101098182, 0.989889182, -0.6927020, -0.6936421, -4.5942483, -0.0101623),
    (99, 0.000890223725, 0.99901096, 9e-06, 0.99999, -7.0240378, -0.0009895, -11.6182861, -1.00000e-5),
]
# K, ln cumulative replacement (the same at every t), ln replacement at t = 0, 1, 49, 99
GOLDEN_UNIFORM = [
    (2887, -21.7834835, -21.7834835, -26.3786030, -25.0520325, -17.1902256),
    (4096, -22.1332760, -22.1332760, -26.7283974, -25.4018269, -17.5400181),
    (974, -20.6969223, -20.6969223, -25.2920418, -23.9654713, -16.1036625),
    (1024, -20.7469826, -20.7469826, -25.3421021, -24.0155315, -16.1537228),
]
NOISY = {"keep_start": 0.9, "keep_end": 0.02, "mask_start": 0.04, "mask_end": 0.9}  # replacement large enough to see


def matrix(keep, uniform, mask, num_codes):
    """Explicit transition matrix, row = from, column = to."""
    q = np.zeros((num_codes + 1, num_codes + 1))
    q[:num_codes, :num_codes] = keep * np.eye(num_codes) + uniform
    q[:num_codes, num_codes] = mask
    q[num_codes, num_codes] = 1.0
    return q


@pytest.mark.parametrize("row", GOLDEN)
def test_released_values(row):
    t, keep, mask, cum_keep, cum_mask, *logs = row
    schedule = make_schedule(ScheduleConfig(num_codes=2887))
    ours = [schedule.keep[t], schedule.mask[t], schedule.cum_keep[t], schedule.cum_mask[t]]
    np.testing.assert_allclose(ours, [keep, mask, cum_keep, cum_mask], rtol=1e-8)
    step, marginal = schedule.steps()[t], schedule.marginals()[t]
    ours = [step.log_keep, step.log_mask, marginal.log_keep, marginal.log_mask]
    np.testing.assert_allclose(ours, logs, rtol=1e-6, atol=6e-8)


@pytest.mark.parametrize("row", GOLDEN_UNIFORM)
def test_released_replacement_values(row):
    num_codes, cumulative, *one_step = row
    schedule = make_schedule(ScheduleConfig(num_codes=num_codes))
    np.testing.assert_allclose(schedule.marginals().log_uniform[:-1], cumulative, rtol=2e-7)
    np.testing.assert_allclose(schedule.steps().log_uniform[np.array([0, 1, 49, 99])], one_step, rtol=2e-7)


def test_older_denominator_shifts_the_replacement_only():
    new, old = (
        make_schedule(ScheduleConfig(num_codes=974, denominator=d)) for d in ("num_codes", "num_codes_plus_one")
    )
    np.testing.assert_allclose(np.log(new.uniform / old.uniform), np.log(975 / 974), rtol=1e-9)
    np.testing.assert_allclose(new.cum_uniform[:-1] / old.cum_uniform[:-1], 975 / 974, rtol=1e-12)
    np.testing.assert_array_equal(new.keep, old.keep)
    np.testing.assert_array_equal(new.mask, old.mask)


@pytest.mark.parametrize("options", [{}, NOISY])
def test_cumulative_is_the_product_of_the_steps(options):
    num_codes, num_timesteps = 5, 7
    schedule = make_schedule(ScheduleConfig(num_codes=num_codes, num_timesteps=num_timesteps, **options))
    product = np.eye(num_codes + 1)
    for t in range(num_timesteps):
        product = product @ matrix(schedule.keep[t], schedule.uniform[t], schedule.mask[t], num_codes)
        cumulative = matrix(schedule.cum_keep[t], schedule.cum_uniform[t], schedule.cum_mask[t], num_codes)
        np.testing.assert_allclose(cumulative, product, rtol=1e-9, atol=1e-16)
        np.testing.assert_allclose(cumulative.sum(axis=1), 1.0, rtol=1e-14)


@pytest.mark.parametrize("options", [{}, NOISY])
def test_jumps_compose_the_steps_between(options):
    num_codes, num_timesteps = 4, 6
    schedule = make_schedule(ScheduleConfig(num_codes=num_codes, num_timesteps=num_timesteps, **options))
    for t in range(num_timesteps):
        for s in range(-1, t):
            product = np.eye(num_codes + 1)
            for r in range(s + 1, t + 1):
                product = product @ matrix(schedule.keep[r], schedule.uniform[r], schedule.mask[r], num_codes)
            kernel = schedule.jumps(t, s).transition
            ours = matrix(
                *(np.exp(np.float64(v)) for v in (kernel.log_keep, kernel.log_uniform, kernel.log_mask)), num_codes
            )
            np.testing.assert_allclose(ours, product, rtol=2e-6)
            np.testing.assert_allclose(np.exp(kernel.log_not_mask), 1 - product[0, -1], rtol=2e-5, atol=1e-7)


def test_identity_at_minus_one():
    kernel = make_schedule(ScheduleConfig(num_codes=9, num_timesteps=4)).marginals()[-1]
    assert (kernel.log_keep, kernel.log_uniform, kernel.log_mask, kernel.log_not_mask) == (0.0, -np.inf, -np.inf, 0.0)


def test_one_step_jumps_are_the_steps_and_the_marginals():
    schedule = make_schedule(ScheduleConfig(num_codes=2887))
    jumps, t = schedule.one_step_jumps(), np.arange(100)
    for ours, expected in (
        (jumps.transition, schedule.steps()),
        (jumps.marginal_t, schedule.marginals()[t]),
        (jumps.marginal_s, schedule.marginals()[t - 1]),
    ):
        jax.tree.map(np.testing.assert_array_equal, ours, expected)


@settings(deadline=None, max_examples=50)
@given(
    num_codes=st.integers(2, 5000),
    num_timesteps=st.integers(2, 300),
    keep_start=st.floats(0.6, 0.99999),
    keep_end=st.floats(1e-6, 0.3),
    share=st.floats(1e-7, 0.3),
    growth=st.floats(1.0, 3.0),
)
def test_probabilities_of_any_schedule(num_codes, num_timesteps, keep_start, keep_end, share, growth):
    mask_start = 1 - keep_start / (1 - share)
    if not 0 < mask_start < 1:
        return
    config = ScheduleConfig(
        num_codes=num_codes,
        num_timesteps=num_timesteps,
        keep_start=keep_start,
        keep_end=keep_end,
        mask_start=mask_start,
        mask_end=1 - keep_end / (1 - min(share * growth, 0.6)),
    )
    schedule = make_schedule(config)
    for array in (schedule.keep, schedule.uniform, schedule.mask):
        assert np.all((array >= 0) & (array <= 1))
    np.testing.assert_allclose(schedule.keep + num_codes * schedule.uniform + schedule.mask, 1.0, rtol=1e-9)


def test_float32_tables_are_pytrees_that_gather():
    schedule = make_schedule(ScheduleConfig(num_codes=8, num_timesteps=5))
    jumps = schedule.one_step_jumps()
    assert all(leaf.dtype == np.float32 and leaf.shape == (5,) for leaf in jax.tree.leaves(jumps))
    index = np.array([3, 0])
    under_jit = jax.jit(lambda i: jumps[i])(jnp.asarray(index))
    jax.tree.map(np.testing.assert_array_equal, under_jit, jumps[index])
    assert jumps[2].marginal_t.log_keep == np.float32(np.log(schedule.cum_keep[2]))
    with pytest.raises(IndexError):
        schedule.steps()[5]


def test_single_timestep():
    schedule = make_schedule(ScheduleConfig(num_codes=8, num_timesteps=1))
    assert schedule.mask[0] == schedule.cum_mask[0] == 0.99999


@pytest.mark.parametrize("t, s", [(3, 3), (2, 4), (5, 1), (3, -2), (np.array([4, 2]), np.array([1, 2]))])
def test_jumps_out_of_range(t, s):
    schedule = make_schedule(ScheduleConfig(num_codes=8, num_timesteps=5))
    with pytest.raises(ValueError, match=r"need -1 <= s < t <= 4"):
        schedule.jumps(t, s)


def test_jumps_refuse_fractions():
    with pytest.raises(ValueError, match="t has dtype float64"):
        make_schedule(ScheduleConfig(num_codes=8, num_timesteps=5)).jumps(2.5, 1)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"keep_start": 0.2, "keep_end": 0.3, "mask_end": 0.6}, "keep must not grow"),
        ({"mask_start": 0.3, "mask_end": 0.2, "keep_start": 0.5}, "mask must not shrink"),
        ({"keep_start": 0.8, "mask_start": 0.01}, "negative probability"),
    ],
)
def test_impossible_schedules(options, message):
    with pytest.raises(ConfigError, match=message):
        make_schedule(ScheduleConfig(num_codes=8, **options))


@pytest.mark.parametrize("index", [999, np.array([3, 999]), jnp.array([3, 999]), jnp.array(-102)])
def test_tables_refuse_an_index_out_of_range(index):
    schedule = make_schedule(ScheduleConfig(num_codes=8))
    for table in (schedule.marginals(), jax.tree.map(jnp.asarray, schedule.marginals()), schedule.one_step_jumps()):
        with pytest.raises(IndexError, match="is out of range for a table of 10[01]|out of bounds"):
            table[index]
    assert jax.jit(lambda t: schedule.steps()[t].log_keep)(jnp.array(999)).shape == ()


def test_check_timesteps():
    check_timesteps(np.array([0, 99]), 100)
    jax.jit(lambda t: check_timesteps(t, 100))(jnp.array([500]))
    with pytest.raises(ValueError, match="timestep 100 is out of range; allowed: 0 to 99"):
        check_timesteps(jnp.array([4, 100]), 100)
    with pytest.raises(ValueError, match="timestep -1 "):
        check_timesteps(-1, 100)
    with pytest.raises(ValueError, match="dtype float"):
        check_timesteps(0.5, 100)
