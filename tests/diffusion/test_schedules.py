"""Schedules by name against explicit matrices: every table, every jump and the posterior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqdiffusion_jax.config import ObjectiveConfig, ScheduleConfig
from vqdiffusion_jax.diffusion import (
    loss_terms,
    make_schedule,
    posterior,
    predict_start,
    prior_nats,
    q_sample,
)
from vqdiffusion_jax.errors import ConfigError

NUM_CODES, NUM_TIMESTEPS = 4, 6
MASK = NUM_CODES
NAMED = [
    ("alpha1", {}),
    ("cosine", {}),
    ("cosine", {"replaced": 0.2, "mask_end": 0.9}),
    ("linear", {}),
    ("linear", {"replaced": 0.3, "mask_end": 0.8}),
]


def named(name, options):
    return make_schedule(ScheduleConfig(num_codes=NUM_CODES, num_timesteps=NUM_TIMESTEPS, name=name, options=options))


def matrix(keep, uniform, mask):
    """Explicit transition matrix, row = from, column = to."""
    q = np.zeros((NUM_CODES + 1, NUM_CODES + 1))
    q[:MASK, :MASK] = keep * np.eye(NUM_CODES) + uniform
    q[:MASK, MASK], q[MASK, MASK] = mask, 1.0
    return q


def chain(schedule, first, last):
    product = np.eye(NUM_CODES + 1)
    for t in range(first, last + 1):
        product = product @ matrix(schedule.keep[t], schedule.uniform[t], schedule.mask[t])
    return product


def test_masked_shares_are_those_of_the_papers():
    cosine, linear = (
        make_schedule(ScheduleConfig(num_codes=8, num_timesteps=4, name=name)) for name in ("cosine", "linear")
    )
    np.testing.assert_allclose(cosine.cum_mask[:4], 0.99999 * np.cos(np.pi / 2 * np.array([0.75, 0.5, 0.25, 0.0])))
    np.testing.assert_allclose(linear.cum_mask[:4], 0.99999 * np.array([0.25, 0.5, 0.75, 1.0]))
    assert not cosine.replaces and not linear.replaces and named("alpha1", {}).replaces
    assert np.all(cosine.uniform == 0.0) and np.all(cosine.cum_uniform == 0.0)


@pytest.mark.parametrize("name, options", NAMED)
def test_cumulative_is_the_product_of_the_steps(name, options):
    schedule = named(name, options)
    for t in range(NUM_TIMESTEPS):
        cumulative = matrix(schedule.cum_keep[t], schedule.cum_uniform[t], schedule.cum_mask[t])
        np.testing.assert_allclose(cumulative, chain(schedule, 0, t), rtol=1e-9, atol=1e-16)
        np.testing.assert_allclose(cumulative.sum(axis=1), 1.0, rtol=1e-14)


@pytest.mark.parametrize("name, options", NAMED)
def test_posterior_is_bayes_rule_with_matrices(name, options):
    schedule, rng = named(name, options), np.random.default_rng(0)
    x_t = np.array([[MASK, 0, 1, 2, 3]])
    log_x0 = predict_start(jnp.asarray(rng.normal(size=(1, 5, NUM_CODES)) * 2, jnp.float32))
    p = np.exp(np.float64(log_x0))[0]
    for t in range(NUM_TIMESTEPS):
        for s in range(-1, t):
            ours = np.exp(np.float64(posterior(log_x0, jnp.asarray(x_t), schedule.jumps(t, s))))[0]
            before, between, after = chain(schedule, 0, s), chain(schedule, s + 1, t), chain(schedule, 0, t)
            for position, x in enumerate(x_t[0]):
                if x == MASK or schedule.replaces:
                    by_code = before[:MASK] * between[:, x] / after[:MASK, x][:, None]
                    expected = p[position] @ by_code
                else:  # x_t was certainly x_0: Bayes' rule says nothing of other codes
                    expected = np.eye(NUM_CODES + 1)[x]
                np.testing.assert_allclose(ours[position], expected, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("name, options", NAMED)
def test_forward_draws_are_distributed_as_the_tables(name, options):
    schedule, tokens = named(name, options), jnp.full((20_000, 1), 2, jnp.int32)
    for t in (0, 3, NUM_TIMESTEPS - 1):
        drawn = q_sample(tokens, schedule.marginals()[t], NUM_CODES, key=jax.random.key(t))
        shares = np.bincount(np.asarray(drawn).reshape(-1), minlength=NUM_CODES + 1) / len(tokens)
        np.testing.assert_allclose(shares, chain(schedule, 0, t)[2], atol=0.015)


@pytest.mark.parametrize("name, options", NAMED)
def test_the_bound_and_its_gradient_are_finite_at_every_timestep(name, options):
    schedule, rng = named(name, options), np.random.default_rng(1)
    logits = jnp.asarray(rng.normal(size=(NUM_TIMESTEPS, 8, NUM_CODES)) * 3, jnp.float32)
    x0 = jnp.asarray(rng.integers(0, NUM_CODES, (NUM_TIMESTEPS, 8)))
    t = jnp.arange(NUM_TIMESTEPS)
    x_t = jax.vmap(lambda x, kernel, key: q_sample(x, kernel, NUM_CODES, key=key))(
        x0, schedule.marginals()[np.arange(NUM_TIMESTEPS)], jax.random.split(jax.random.key(0), NUM_TIMESTEPS)
    )

    def loss(logits):
        pt = jnp.full(NUM_TIMESTEPS, 1 / NUM_TIMESTEPS)
        return loss_terms(predict_start(logits), x0, x_t, t, pt, schedule.one_step_jumps(), ObjectiveConfig()).loss

    value, gradient = jax.value_and_grad(loss)(logits)
    assert np.isfinite(value) and value >= 0 and np.isfinite(gradient).all()
    assert 0 <= prior_nats(schedule) < 1


def test_what_only_masks_leaves_unmasked_tokens_alone_whatever_the_network_says():
    schedule = named("cosine", {})
    log_x0 = predict_start(jnp.asarray([[[50.0, 0.0, 0.0, 0.0]]]))
    kept = posterior(log_x0, jnp.asarray([[3]]), schedule.jumps(4, 2))
    np.testing.assert_array_equal(kept[0, 0, [3]], 0.0)
    np.testing.assert_array_less(kept[0, 0, [0, 1, 2, MASK]], -60.0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "cosin"}, "ScheduleConfig.name is 'cosin'; allowed: alpha1, cosine, linear, or package.module:Class"),
        ({"name": "cosine", "keep_end": 0.1}, "ScheduleConfig.keep_end is 0.1, but it belongs to alpha1"),
        ({"options": {"replaced": 0.1}}, "ScheduleConfig.options is .*; alpha1 takes none"),
        ({"name": "cosine", "options": 3}, "ScheduleConfig.options is 3; it must be a table"),
        ({"name": "cosine", "options": {"replace": 0.1}}, "cosine has no option replace; known: mask_end, replaced"),
        ({"name": "cosine", "options": {"replaced": 1.0}}, r"replaced of the schedule cosine is 1.0; .* \[0, 1\)"),
        ({"name": "linear", "options": {"mask_end": 1.0}}, r"mask_end of the schedule linear is 1.0; .* \(0, 1\)"),
    ],
)
def test_mistakes_are_one_line(fields, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make_schedule(ScheduleConfig(num_codes=8, **fields))
    assert "\n" not in str(caught.value)
