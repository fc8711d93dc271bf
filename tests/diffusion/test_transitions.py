"""The closed forms against explicit float64 matrices and Bayes' rule, and draws against their probabilities."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqdiffusion_jax.config import ScheduleConfig
from vqdiffusion_jax.diffusion import (
    LOG_FLOOR,
    LOG_ZERO,
    check_tokens,
    forward_log_prob,
    forward_log_prob_tokens,
    gumbel_from_uniform,
    log_one_hot,
    make_schedule,
    posterior,
    predict_start,
    q_sample,
    q_sample_trajectory,
    q_sample_with_uniforms,
    sample_categorical,
    transitions,
)

NUM_CODES, NUM_TIMESTEPS, LENGTH = 5, 6, 12
MASK = NUM_CODES
RELEASED = make_schedule(ScheduleConfig(num_codes=NUM_CODES, num_timesteps=NUM_TIMESTEPS))
NOISY = make_schedule(
    ScheduleConfig(
        num_codes=NUM_CODES, num_timesteps=NUM_TIMESTEPS, keep_start=0.9, keep_end=0.02, mask_start=0.04, mask_end=0.9
    )
)
SCHEDULES = pytest.mark.parametrize("schedule", [RELEASED, NOISY], ids=["released", "noisy"])
PAIRS = [(t, s) for t in range(NUM_TIMESTEPS) for s in range(-1, t)]
ALL_X_T = jnp.arange(LENGTH, dtype=jnp.int32)[None] % (NUM_CODES + 1)  # every code and [MASK], twice
# One program each: op by op, tiny programs are compiled by the hundred.
jit_posterior = jax.jit(posterior)
jit_forward = jax.jit(forward_log_prob)
jit_forward_tokens = jax.jit(forward_log_prob_tokens, static_argnums=2)
jit_q_sample = jax.jit(q_sample, static_argnums=2)


def matrix(schedule, first, last):
    """Product of the explicit one-step matrices first .. last; row = from, column = to."""
    product = np.eye(NUM_CODES + 1)
    for t in range(first, last + 1):
        q = np.zeros((NUM_CODES + 1, NUM_CODES + 1))
        q[:MASK, :MASK] = schedule.keep[t] * np.eye(NUM_CODES) + schedule.uniform[t]
        q[:MASK, MASK] = schedule.mask[t]
        q[MASK, MASK] = 1.0
        product = product @ q
    return product


def bayes(schedule, p_x0, x_t, t, s):
    """sum_k p(x_0 = k) q(x_s | x_t, x_0 = k), each by Bayes' rule: (length, K + 1)."""
    to_s, onward, to_t = matrix(schedule, 0, s), matrix(schedule, s + 1, t), matrix(schedule, 0, t)
    out = np.zeros((len(x_t), NUM_CODES + 1))
    for position, x in enumerate(x_t):
        for k in range(NUM_CODES):
            out[position] += p_x0[position, k] * to_s[k] * onward[:, x] / to_t[k, x]
    return out


@partial(jax.jit, static_argnames="shape")
def random_log_x0(seed, scale=3.0, shape=(1, LENGTH)):
    return predict_start(scale * jax.random.normal(jax.random.key(seed), (*shape, NUM_CODES)))


@jax.jit
def gradient_of_posterior(log_x0, x_t, jump):
    return jax.grad(lambda v: posterior(v, x_t, jump).sum())(log_x0)


@SCHEDULES
@pytest.mark.parametrize("t", range(NUM_TIMESTEPS))
def test_forward_matches_matrix_products(schedule, t):
    expected = matrix(schedule, 0, t)
    tokens = jnp.arange(NUM_CODES + 1)[None]
    ours = np.exp(jit_forward_tokens(tokens, schedule.marginals()[t], NUM_CODES))[0]
    np.testing.assert_allclose(ours, expected, rtol=2e-6, atol=1e-29)
    one_step = np.exp(jit_forward_tokens(tokens, schedule.steps()[t], NUM_CODES))[0]
    np.testing.assert_allclose(one_step, matrix(schedule, t, t), rtol=2e-6, atol=1e-29)
    log_x0 = random_log_x0(t)
    soft = np.exp(jit_forward(log_x0, schedule.marginals()[t]))[0]
    np.testing.assert_allclose(soft, np.exp(np.float64(log_x0[0])) @ expected[:NUM_CODES], rtol=1e-5)


def test_forward_at_minus_one_is_the_identity():
    tokens = jnp.arange(NUM_CODES + 1)[None]
    ours = forward_log_prob_tokens(tokens, RELEASED.marginals()[-1], NUM_CODES)
    np.testing.assert_allclose(ours[0], np.where(np.eye(NUM_CODES + 1), 0.0, LOG_ZERO), rtol=1e-6)


@SCHEDULES
@pytest.mark.parametrize("t, s", PAIRS)
def test_posterior_matches_bayes(schedule, t, s):
    log_x0 = random_log_x0(10 * t + s)
    ours = np.asarray(jit_posterior(log_x0, ALL_X_T, schedule.jumps(t, s)))[0]
    with np.errstate(divide="ignore"):
        expected = np.log(bayes(schedule, np.exp(np.float64(log_x0[0])), np.asarray(ALL_X_T[0]), t, s))
    compared = expected > -60
    np.testing.assert_allclose(ours[compared], expected[compared], atol=2e-5)
    assert np.all(ours[~compared] < -45)  # impossible: the floor 1e-30, times W where x_t is a code
    np.testing.assert_allclose(np.exp(ours).sum(-1), 1.0, atol=5e-6)
    masked = np.asarray(ALL_X_T[0]) == MASK
    before = 0.0 if s < 0 else schedule.cum_mask[s]
    np.testing.assert_allclose(np.exp(ours[masked, MASK]), before / schedule.cum_mask[t], rtol=1e-5, atol=1e-29)


@SCHEDULES
@pytest.mark.parametrize("t, s", [(5, 4), (5, 1), (3, 0), (2, 1)])
def test_posterior_of_hard_tokens(schedule, t, s):
    x0 = jnp.arange(LENGTH)[None] // 3
    ours = np.asarray(jit_posterior(log_one_hot(x0, NUM_CODES), ALL_X_T, schedule.jumps(t, s)))[0]
    expected = bayes(schedule, np.eye(NUM_CODES)[np.asarray(x0[0])], np.asarray(ALL_X_T[0]), t, s)
    np.testing.assert_allclose(np.exp(ours), expected, rtol=2e-5, atol=1e-9)


def test_last_step_draws_every_token_from_the_prediction():
    log_x0 = random_log_x0(0)
    ours = posterior(log_x0, ALL_X_T, RELEASED.jumps(0, -1))
    np.testing.assert_allclose(ours[..., :NUM_CODES], log_x0, atol=1e-5)
    assert np.all(ours[..., MASK] < -69)


def test_posterior_takes_a_timestep_per_sample():
    t = np.array([0, 2, 5])
    log_x0 = random_log_x0(1, shape=(3, LENGTH))
    x_t = jnp.tile(ALL_X_T, (3, 1))
    together = jit_posterior(log_x0, x_t, RELEASED.one_step_jumps()[t])
    for i, step in enumerate(t):
        alone = jit_posterior(log_x0[i : i + 1], x_t[i : i + 1], RELEASED.jumps(step, step - 1))
        np.testing.assert_allclose(together[i : i + 1], alone, atol=1e-6)


def test_truncated_prediction_keeps_its_mass():
    p = np.array([0.5, 0.3, 0.1, 0.0, 0.0])
    log_x0 = jnp.broadcast_to(jnp.where(p > 0, jnp.log(jnp.maximum(p, 1e-30)), LOG_FLOOR), (1, LENGTH, NUM_CODES))
    ours = posterior(log_x0, ALL_X_T, NOISY.jumps(3, 2))
    np.testing.assert_allclose(np.exp(ours).sum(-1), 0.9, atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**31 - 1),
    scale=st.floats(0.0, 60.0),
    pair=st.sampled_from(PAIRS),
    schedule=st.sampled_from([RELEASED, NOISY]),
)
def test_posterior_is_a_finite_distribution_with_finite_gradients(seed, scale, pair, schedule):
    log_x0, jump = random_log_x0(seed, scale), schedule.jumps(*pair)
    for x_t in (ALL_X_T, jnp.full_like(ALL_X_T, MASK)):
        out = np.asarray(jit_posterior(log_x0, x_t, jump))
        assert np.all((out >= LOG_FLOOR) & (out <= 0.0))
        np.testing.assert_allclose(np.exp(out).sum(-1), 1.0, atol=2e-5)
        gradient = gradient_of_posterior(log_x0, x_t, jump)
        assert np.all(np.isfinite(gradient))


def test_posterior_of_large_vocabulary_is_finite():
    schedule = make_schedule(ScheduleConfig(num_codes=2887))
    log_x0 = predict_start(5.0 * jax.random.normal(jax.random.key(0), (2, 3, 2887)))
    x_t = jnp.array([[2887, 5, 2886], [0, 2887, 1]])
    for t, s in ((99, 98), (99, 49), (1, 0), (0, -1)):
        out = np.asarray(jit_posterior(log_x0, x_t, schedule.jumps(t, s)))
        assert np.isfinite(out).all()
        np.testing.assert_allclose(np.exp(out).sum(-1), 1.0, atol=5e-5)


def test_clamps():
    np.testing.assert_array_equal(predict_start(jnp.array([[[0.0, -200.0, -300.0]]])), [[[0.0, LOG_FLOOR, LOG_FLOOR]]])


def test_clamps_pass_the_whole_gradient_on_a_bound_and_none_beyond():
    # At t = 0 the posterior is the clamped input itself, so these entries are inside, on and beyond the bounds.
    log_x0 = jnp.array([[[-1.0, 0.0, LOG_FLOOR, -75.0, 2.0]]])
    out, pullback = jax.vjp(
        lambda x: jit_posterior(x, jnp.array([[1]]), RELEASED.jumps(0, -1))[..., :NUM_CODES], log_x0
    )
    np.testing.assert_allclose(out, [[[-1.0, 0.0, LOG_FLOOR, LOG_FLOOR, 0.0]]], atol=1e-5)
    assert out[0, 0, 1] == 0.0
    (gradient,) = pullback(jnp.ones_like(out))
    np.testing.assert_array_equal(gradient, [[[1.0, 1.0, 1.0, 0.0, 0.0]]])


def test_predict_start_is_float32_log_softmax():
    logits = jax.random.normal(jax.random.key(3), (2, 4, 7))
    exact = np.float64(logits) - np.log(np.exp(np.float64(logits)).sum(-1, keepdims=True))
    np.testing.assert_allclose(predict_start(logits), exact, atol=2e-6)
    assert predict_start(logits.astype(jnp.bfloat16)).dtype == jnp.float32


def test_log_one_hot():
    ours = log_one_hot(jnp.array([[2, 0]]), 3)
    assert ours.dtype == jnp.float32
    np.testing.assert_allclose(ours, [[[LOG_ZERO, LOG_ZERO, 0.0], [0.0, LOG_ZERO, LOG_ZERO]]], rtol=1e-7)
    np.testing.assert_allclose(LOG_ZERO, -69.0775528, rtol=1e-9)


def test_gumbel_from_uniform_is_finite_at_the_ends():
    ours = gumbel_from_uniform(jnp.array([0.0, 0.5, np.nextafter(np.float32(1), np.float32(0))], jnp.float32))
    np.testing.assert_allclose(ours, [-4.2352, 0.36651, 16.6355], rtol=1e-4)


def test_sample_categorical_follows_the_probabilities():
    p = jnp.array([0.5, 0.2, 0.25, 0.05])
    gumbel = gumbel_from_uniform(jax.random.uniform(jax.random.key(0), (40000, 4)))
    draws = sample_categorical(jnp.log(p), gumbel)
    assert draws.dtype == jnp.int32
    np.testing.assert_allclose(np.bincount(draws, minlength=4) / 40000, p, atol=0.012)


def frequencies(draws):
    return np.stack([np.bincount(column, minlength=NUM_CODES + 1) for column in np.asarray(draws).T]) / len(draws)


@pytest.mark.parametrize("t", [0, 2, 5])
def test_q_sample_frequencies(t):
    tokens = jnp.tile(jnp.arange(NUM_CODES + 1, dtype=jnp.int32), (8000, 1))
    draws = jit_q_sample(tokens, NOISY.marginals()[t], NUM_CODES, key=jax.random.key(t))
    assert draws.dtype == jnp.int32
    np.testing.assert_allclose(frequencies(draws), matrix(NOISY, 0, t), atol=0.028)


def test_q_sample_with_uniforms_frequencies_and_replay():
    kernel = NOISY.marginals()[2]
    tokens = jnp.tile(jnp.arange(NUM_CODES + 1, dtype=jnp.int32), (8000, 1))
    uniforms = jax.random.uniform(jax.random.key(0), (*tokens.shape, NUM_CODES + 1))
    draws = q_sample_with_uniforms(tokens, kernel, uniforms)
    np.testing.assert_allclose(frequencies(draws), matrix(NOISY, 0, 2), atol=0.028)
    noise = -np.log(-np.log(np.float64(uniforms[:50])))
    with np.errstate(divide="ignore"):
        by_hand = np.argmax(np.log(matrix(NOISY, 0, 2))[np.asarray(tokens[:50])] + noise, axis=-1)
    np.testing.assert_array_equal(draws[:50], by_hand)


def test_rare_replacement_is_drawn_at_its_rate():
    # The released replacement probability, 1e-6 in total, is about 8 steps of a float32 uniform: it must not be lost or
    # inflated.
    schedule = make_schedule(ScheduleConfig(num_codes=NUM_CODES))
    size, rounds = 2_000_000, 3
    clean, kernel = jnp.zeros((1, size), jnp.int32), schedule.marginals()[0]
    draw = jax.jit(lambda key: jnp.sum(q_sample(clean, kernel, NUM_CODES, key=key) % MASK > 0))
    replaced = sum(int(draw(key)) for key in jax.random.split(jax.random.key(0), rounds))
    assert 1 <= replaced <= 14  # a Poisson variable of mean 4.8


def test_identity_kernel_changes_nothing_and_samples_differ_by_timestep():
    tokens = jnp.tile(ALL_X_T, (3, 200))
    kernel = RELEASED.marginals()[np.array([-1, 2, NUM_TIMESTEPS - 1])]
    draws = jit_q_sample(tokens, kernel, NUM_CODES, key=jax.random.key(0))
    np.testing.assert_array_equal(draws[0], tokens[0])
    assert np.mean(draws[1] == MASK) < 0.9 < np.mean(draws[2] == MASK)


def test_trajectory_has_the_marginals_and_absorbs():
    tokens = jnp.tile(jnp.arange(NUM_CODES + 1, dtype=jnp.int32), (8000, 1))
    path = jax.jit(lambda key: q_sample_trajectory(tokens, NOISY.steps(), NUM_CODES, key=key))(jax.random.key(1))
    assert path.shape == (NUM_TIMESTEPS, *tokens.shape) and path.dtype == jnp.int32
    for t in range(NUM_TIMESTEPS):
        np.testing.assert_allclose(frequencies(path[t]), matrix(NOISY, 0, t), atol=0.028)
    was_masked = path[:-1] == MASK
    assert np.all((path[1:] == MASK) | ~was_masked)


def test_check_tokens():
    check_tokens(np.array([[0, 4]]), 5, allow_mask=False)
    check_tokens(jnp.array([[0, 5]]), 5, allow_mask=True)
    jax.jit(lambda x: check_tokens(x, 5, allow_mask=False))(jnp.array([9]))
    message = r"token 5 at \(0, 1\) is out of range \(that is \[MASK\]: finish denoising first\); allowed: 0 to 4$"
    with pytest.raises(ValueError, match=message):
        check_tokens(np.array([[0, 5]]), 5, allow_mask=False)
    with pytest.raises(ValueError, match=r"token 6 at \(0, 1\) is out of range; allowed: 0 to 5, where 5 is \[MASK\]"):
        check_tokens(np.array([[0, 6]]), 5, allow_mask=True)
    with pytest.raises(ValueError, match="dtype float"):
        check_tokens(np.array([0.5]), 5, allow_mask=True)
    with pytest.raises(ValueError, match="token 999 at"):
        q_sample(jnp.array([[0, 999]]), RELEASED.steps()[0], NUM_CODES, key=jax.random.key(0))


def test_shape_errors():
    with pytest.raises(ValueError, match="posterior: log_x0"):
        posterior(jnp.zeros((1, 3, NUM_CODES)), jnp.zeros((1, 4), jnp.int32), RELEASED.jumps(1, 0))
    with pytest.raises(ValueError, match="q_sample_with_uniforms: tokens"):
        q_sample_with_uniforms(jnp.zeros((1, 4), jnp.int32), RELEASED.steps()[0], jnp.zeros((1, 3, NUM_CODES + 1)))


@pytest.mark.parametrize("platform, reductions", [("cpu", True), ("tpu", True), ("cuda", False)])
def test_the_draw_takes_a_form_by_the_platform_that_a_program_is_lowered_for(platform, reductions):
    """A TPU's compiler transposes the whole array for argmax, two reductions leave it in place."""
    drawn = jax.jit(transitions._largest).trace(jax.ShapeDtypeStruct((2, 4, 100), "float32"))
    assert ("optimization_barrier" in drawn.lower(lowering_platforms=(platform,)).as_text()) == reductions


def test_of_equal_classes_the_first_is_drawn():
    x = jnp.asarray([[1.0, 3.0, 3.0, -1.0], [5.0, 5.0, 5.0, 5.0], [0.0, 0.0, 0.0, 2.0]])
    largest, index = transitions._largest(x)
    np.testing.assert_array_equal(largest, [3.0, 5.0, 2.0])
    np.testing.assert_array_equal(index, [1, 0, 3])
