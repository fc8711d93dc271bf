"""MaskGIT's loss against numpy, and its place in the bound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqdiffusion_jax.config import ObjectiveConfig, ScheduleConfig
from vqdiffusion_jax.diffusion import LossState, loss_terms, make_objective, make_schedule, predict_start
from vqdiffusion_jax.errors import ConfigError

NUM_CODES, NUM_TIMESTEPS, BATCH, LENGTH = 5, 6, 4, 7
SCHEDULE = make_schedule(ScheduleConfig(num_codes=NUM_CODES, num_timesteps=NUM_TIMESTEPS, name="cosine"))
T = np.array([0, 2, 4, 5])
PT = np.full(BATCH, 1 / NUM_TIMESTEPS)


def make(schedule=SCHEDULE, **options):
    return make_objective(ObjectiveConfig(name="masked_cross_entropy", options=options), schedule)


def random_batch(seed):
    rng = np.random.default_rng(seed)
    x0 = rng.integers(0, NUM_CODES, (BATCH, LENGTH))
    x_t = np.where(rng.random(x0.shape) < 0.5, NUM_CODES, x0)
    return rng.normal(size=(BATCH, LENGTH, NUM_CODES)) * 2, x0, x_t


def terms_of(objective, logits, x0, x_t):
    log_x0 = predict_start(jnp.asarray(logits, jnp.float32))
    return objective(log_x0, *map(jnp.asarray, (x0, x_t, T, PT)))


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.0}, {"label_smoothing": 0.3, "unmasked_weight": 0.5}])
def test_loss_is_its_formula(options):
    logits, x0, x_t = random_batch(0)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    smoothing, unmasked = options.get("label_smoothing", 0.1), options.get("unmasked_weight", 0.0)
    target = (1 - smoothing) * np.eye(NUM_CODES)[x0] + smoothing / NUM_CODES
    weight = np.where(x_t == NUM_CODES, 1.0, unmasked)
    masked_share = SCHEDULE.cum_mask[:-1].mean()
    expected = -(weight[..., None] * target * np.log(p)).sum()
    expected /= BATCH * LENGTH * (masked_share + unmasked * (1 - masked_share))
    np.testing.assert_allclose(terms_of(make(**options), logits, x0, x_t).loss, expected, rtol=1e-5)


def test_every_masked_token_weighs_alike():
    """Whatever the timestep and however many others are masked."""
    logits, x0, x_t = random_batch(1)
    gradient = np.asarray(
        jax.grad(lambda v: terms_of(make(label_smoothing=0.0), v, x0, x_t).loss)(jnp.zeros_like(logits))
    )
    masked = x_t == NUM_CODES
    sizes = np.abs(gradient).sum(-1)
    np.testing.assert_allclose(sizes[masked], sizes[masked][0], rtol=1e-5)
    np.testing.assert_array_equal(gradient[~masked], 0.0)


def test_nats_are_the_bound_of_noise_that_only_masks():
    logits, x0, x_t = random_batch(2)
    log_x0 = predict_start(jnp.asarray(logits, jnp.float32))
    exact = loss_terms(log_x0, *map(jnp.asarray, (x0, x_t, T, PT)), SCHEDULE.one_step_jumps(), ObjectiveConfig())
    np.testing.assert_allclose(terms_of(make(), logits, x0, x_t).nats, exact.kl_loss, rtol=1e-4)


def test_gradients_are_finite_where_the_prediction_is_certain():
    _, x0, x_t = random_batch(3)
    logits = jnp.asarray(200.0 * np.eye(NUM_CODES)[x0], jnp.float32)
    for sign in (1, -1):
        gradient = jax.grad(lambda v: terms_of(make(unmasked_weight=1.0), v, x0, x_t).loss)(sign * logits)
        assert np.isfinite(gradient).all()


def test_timesteps_are_uniform():
    state = LossState(history=jnp.arange(6.0), count=jnp.full(6, 100.0))
    np.testing.assert_allclose(make().timestep_probabilities(state), 1 / 6, rtol=1e-6)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "masked"}, "ObjectiveConfig.name is 'masked'; allowed: variational, masked_cross_entropy, or"),
        (
            {"name": "masked_cross_entropy", "unmasked_weight": 0.5},
            "unmasked_weight is 0.5, but it belongs to variational",
        ),
        ({"options": {"unmasked_weight": 0.5}}, "variational takes none, set ObjectiveConfig's own fields"),
        ({"name": "masked_cross_entropy", "options": {"smoothing": 0.1}}, "known: label_smoothing, unmasked_weight"),
        ({"name": "masked_cross_entropy", "options": {"label_smoothing": 1.0}}, "label_smoothing of .* is 1.0"),
        ({"name": "masked_cross_entropy", "options": {"unmasked_weight": -1}}, "unmasked_weight of .* is -1"),
    ],
)
def test_mistakes_are_one_line(config, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make_objective(ObjectiveConfig(**config), SCHEDULE)
    assert "\n" not in str(caught.value)


def test_a_preset_s_auxiliary_weight_does_not_stand_in_the_way():
    config = ObjectiveConfig(name="masked_cross_entropy", auxiliary_weight=1.0e-3)
    assert make_objective(config, SCHEDULE).timestep_probabilities(LossState.zeros(6)).shape == (6,)
