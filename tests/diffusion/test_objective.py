"""The loss against a float64 computation with explicit matrices, its gradient, and the choice of timestep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqdiffusion_jax.config import ObjectiveConfig, ScheduleConfig
from vqdiffusion_jax.diffusion import (
    LossState,
    loss_terms,
    make_schedule,
    predict_start,
    sample_timesteps,
    timestep_probabilities,
    update_loss_state,
)

NUM_CODES, NUM_TIMESTEPS, BATCH, LENGTH = 4, 5, 3, 6
MASK = NUM_CODES
RELEASED = make_schedule(ScheduleConfig(num_codes=NUM_CODES, num_timesteps=NUM_TIMESTEPS))
NOISY = make_schedule(
    ScheduleConfig(
        num_codes=NUM_CODES, num_timesteps=NUM_TIMESTEPS, keep_start=0.9, keep_end=0.02, mask_start=0.04, mask_end=0.9
    )
)
T = np.array([0, 2, 4])
PT = np.array([0.2, 0.5, 0.1])
jit_loss = jax.jit(loss_terms, static_argnums=6)


def random_batch(seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(BATCH, LENGTH, NUM_CODES)) * 2
    x0 = rng.integers(0, NUM_CODES, (BATCH, LENGTH))
    x_t = rng.integers(0, NUM_CODES + 1, (BATCH, LENGTH))
    x_t[:, 0], x_t[:, 1] = MASK, x0[:, 1]
    return logits, x0, x_t


def chain(schedule, first, last):
    product = np.eye(NUM_CODES + 1)
    for t in range(first, last + 1):
        q = np.zeros_like(product)
        q[:MASK, :MASK] = schedule.keep[t] * np.eye(NUM_CODES) + schedule.uniform[t]
        q[:MASK, MASK], q[MASK, MASK] = schedule.mask[t], 1.0
        product = product @ q
    return product


def exact_terms(logits, x0, x_t, config, schedule):
    """Per-sample (kl_loss, kl_aux_loss, vb_loss), float64, by Bayes' rule with explicit matrices."""
    out = []
    for i in range(BATCH):
        t = T[i]
        before, step, after = chain(schedule, 0, t - 1), chain(schedule, t, t), chain(schedule, 0, t)
        kl = nll = aux = 0.0
        for logit, code, x in zip(logits[i], x0[i], x_t[i], strict=True):
            p = np.exp(logit - logit.max())
            p /= p.sum()
            by_code = before[:MASK] * step[:, x] / after[:MASK, x][:, None]
            true, model = by_code[code], p @ by_code
            weight = config.masked_weight if x == MASK else config.unmasked_weight
            seen = true > 0
            kl += weight * np.sum(true[seen] * np.log(true[seen] / model[seen]))
            nll -= np.log(model[code])
            aux -= weight * np.log(p[code])
        kl_loss, aux_loss = (nll, nll) if t == 0 else (kl, aux)
        by_time = {"decreasing": 2 - t / NUM_TIMESTEPS, "increasing": 1 + t / NUM_TIMESTEPS, "constant": 1.0}
        vb = (kl_loss + config.auxiliary_weight * by_time[config.auxiliary_weighting] * aux_loss) / PT[i]
        out.append((kl_loss, aux_loss, vb))
    return np.array(out).T


def ours(logits, x0, x_t, config, schedule):
    prediction = predict_start(jnp.asarray(logits, jnp.float32))
    tokens = (jnp.asarray(x0, jnp.int32), jnp.asarray(x_t, jnp.int32), jnp.asarray(T), jnp.asarray(PT, jnp.float32))
    return jit_loss(prediction, *tokens, schedule.one_step_jumps(), config)


@pytest.mark.parametrize("schedule", [RELEASED, NOISY], ids=["released", "noisy"])
@pytest.mark.parametrize(
    "config",
    [
        ObjectiveConfig(),
        ObjectiveConfig(auxiliary_weight=0.3, auxiliary_weighting="increasing", masked_weight=2.0, unmasked_weight=0.5),
        ObjectiveConfig(auxiliary_weight=0.1, auxiliary_weighting="constant", unmasked_weight=0.0),
        ObjectiveConfig(auxiliary_weight=0.0),
    ],
)
def test_loss_matches_exact_bayes(schedule, config):
    batch = random_batch(0)
    terms = ours(*batch, config, schedule)
    kl_loss, aux_loss, vb_loss = exact_terms(*batch, config, schedule)
    np.testing.assert_allclose(terms.kl_loss, kl_loss, rtol=1e-5)
    np.testing.assert_allclose(terms.kl_aux_loss, aux_loss, rtol=1e-5)
    np.testing.assert_allclose(terms.vb_loss, vb_loss, rtol=1e-5)
    np.testing.assert_allclose(terms.loss, vb_loss.sum() / (BATCH * LENGTH), rtol=1e-5)
    np.testing.assert_allclose(terms.kl, terms.kl_per_position.sum(-1), rtol=1e-6)
    np.testing.assert_allclose(np.exp(terms.log_true_prob).sum(-1), 1.0, atol=1e-5)
    np.testing.assert_allclose(np.exp(terms.log_model_prob).sum(-1), 1.0, atol=1e-5)


@pytest.mark.parametrize("schedule", [RELEASED, NOISY], ids=["released", "noisy"])
def test_gradient_matches_finite_differences_of_the_exact_loss(schedule):
    config = ObjectiveConfig(auxiliary_weight=0.05)
    logits, x0, x_t = random_batch(1)
    gradient = jax.grad(lambda v: ours(v, x0, x_t, config, schedule).loss)(jnp.asarray(logits, jnp.float32))
    rng, step = np.random.default_rng(0), 1e-5
    for _ in range(5):
        direction = rng.normal(size=logits.shape)
        up, down = (
            exact_terms(logits + sign * step * direction, x0, x_t, config, schedule)[2].sum() for sign in (1, -1)
        )
        expected = (up - down) / (2 * step) / (BATCH * LENGTH)
        np.testing.assert_allclose(np.sum(np.float64(gradient) * direction), expected, rtol=1e-4, atol=1e-4)


def test_perfect_prediction_costs_nothing_and_has_finite_gradients():
    _, x0, x_t = random_batch(2)
    logits = jnp.asarray(200.0 * np.eye(NUM_CODES)[x0], jnp.float32)

    def loss(v):
        return ours(v, x0, x_t, ObjectiveConfig(), RELEASED).loss

    assert abs(float(loss(logits))) < 1e-5
    assert np.all(np.isfinite(jax.grad(loss)(logits)))
    assert np.all(np.isfinite(jax.grad(loss)(-logits)))  # a prediction as wrong as can be


def test_loss_refuses_mismatched_shapes():
    logits, x0, x_t = random_batch(0)
    with pytest.raises(ValueError, match="loss_terms: log_x0_pred"):
        loss_terms(jnp.asarray(logits), x0[:, :-1], x_t, T, PT, RELEASED.one_step_jumps(), ObjectiveConfig())


def test_timesteps_are_uniform_until_each_was_seen_more_than_ten_times():
    history = jnp.arange(1.0, 9.0)
    waiting = LossState(history=history, count=jnp.full(8, 11.0).at[3].set(10.0))
    np.testing.assert_allclose(timestep_probabilities(waiting), 1 / 8)
    t, pt = sample_timesteps(jnp.array([0.0, 0.124, 0.126, 0.9999]), timestep_probabilities(waiting), 4)
    np.testing.assert_array_equal(t, [0, 0, 1, 7])
    np.testing.assert_allclose(pt, 1 / 8)
    ready = LossState(history=history, count=jnp.full(8, 11.0))
    score = np.sqrt(np.arange(1.0, 9.0) + 1e-10) + 1e-4
    score[0] = score[1]
    np.testing.assert_allclose(timestep_probabilities(ready), score / score.sum(), rtol=1e-6)


def test_importance_sampling_follows_its_probabilities():
    state = LossState(history=jnp.array([100.0, 0.0, 4.0, 1.0, 9.0]), count=jnp.full(5, 20.0))
    t, pt = jax.jit(sample_timesteps, static_argnums=2)(jax.random.key(0), timestep_probabilities(state), 40000)
    probabilities = np.asarray(timestep_probabilities(state))
    assert t.dtype == jnp.int32
    np.testing.assert_allclose(np.bincount(t, minlength=5) / 40000, probabilities, atol=0.012)
    np.testing.assert_array_equal(pt, probabilities[np.asarray(t)])


def test_uniforms_are_inverted_and_never_leave_the_range():
    state = LossState(history=jnp.array([0.0, 1.0, 4.0, 9.0]), count=jnp.full(4, 20.0))
    uniforms = np.random.default_rng(0).random(500).astype(np.float32)
    t, _ = sample_timesteps(uniforms, timestep_probabilities(state), 500)
    edges = np.cumsum(np.asarray(timestep_probabilities(state)))
    np.testing.assert_array_equal(t, np.searchsorted(edges, uniforms, side="right"))
    assert int(sample_timesteps(jnp.ones(1), timestep_probabilities(state), 1)[0][0]) == 3
    with pytest.raises(ValueError, match=r"uniforms have shape \(500,\); give \(2,\)"):
        sample_timesteps(uniforms, timestep_probabilities(state), 2)


def test_single_timestep_is_always_drawn():
    t, pt = sample_timesteps(
        jax.random.key(0), timestep_probabilities(LossState(history=jnp.ones(1), count=jnp.full(1, 20.0))), 3
    )
    np.testing.assert_array_equal(t, 0)
    np.testing.assert_allclose(pt, 1.0)


def test_state_update_and_duplicates():
    state = LossState(history=jnp.arange(5.0), count=jnp.zeros(5))
    t, loss = jnp.array([3, 1, 3, 3]), jnp.array([10.0, 2.0, 20.0, 30.0])
    after = jax.jit(update_loss_state)(state, t, loss)
    np.testing.assert_allclose(after.history, [0.0, 0.9 + 0.4, 2.0, 2.7 + 90.0, 4.0], rtol=1e-6)
    np.testing.assert_array_equal(after.count, [0, 1, 0, 3, 0])


def test_state_update_takes_no_gradient():
    state = LossState.zeros(4)
    gradient = jax.grad(lambda v: update_loss_state(state, jnp.array([0, 2]), v).history.sum())(jnp.ones(2))
    np.testing.assert_array_equal(gradient, 0.0)


def test_repeated_updates_reach_the_mean_square():
    def body(state, _):
        return update_loss_state(state, jnp.array([2]), jnp.array([3.0])), None

    state, _ = jax.lax.scan(body, LossState.zeros(4), None, length=200)
    np.testing.assert_allclose(state.history, [0, 0, 9, 0], rtol=1e-5)
    np.testing.assert_array_equal(state.count, [0, 0, 200, 0])
