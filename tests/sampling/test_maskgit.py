import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sampling.toy import NUM_CODES, RELEASED, exact_log_x0, frequencies, joint
from vqdiffusion_jax.config import ScheduleConfig
from vqdiffusion_jax.diffusion import make_schedule
from vqdiffusion_jax.sampling import KeyNoise, MaskGIT, all_mask_start, denoise, image_keys

HUNDRED = make_schedule(ScheduleConfig(num_codes=NUM_CODES))
LENGTH = 12


def log_x0_fn(tokens, timestep):
    """Return a random answer for each position, the same at every call."""
    return jnp.broadcast_to(
        jax.nn.log_softmax(jax.random.normal(jax.random.key(3), (LENGTH, NUM_CODES))), (*tokens.shape, NUM_CODES)
    )


@functools.partial(jax.jit, static_argnames="predict")
def compiled(predict, strategy, plan, noise, start):
    return denoise(predict, strategy, plan, noise, start, keep_trajectory=True)


def run(strategy, start, *, seed=0, first=0, schedule=HUNDRED, predict=log_x0_fn):
    noise = KeyNoise(image_keys(seed, first, len(start)))
    return compiled(predict, strategy, strategy.plan(schedule, start.shape[1]), noise, start)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 200), st.sampled_from(["cosine", "linear"]), st.data())
def test_every_call_reveals_and_the_last_leaves_none(num_tokens, mask_schedule, data):
    steps = data.draw(st.integers(1, num_tokens))
    plan = MaskGIT(steps, mask_schedule=mask_schedule).plan(HUNDRED, num_tokens)
    assert len(plan) == steps and plan.reveal.min() >= 1 and plan.reveal.sum() == num_tokens
    assert (np.diff(plan.timestep) <= 0).all() and plan.timestep[0] == 99
    progress = np.arange(1, steps + 1) / steps
    share = np.cos(np.pi / 2 * progress) if mask_schedule == "cosine" else 1 - progress
    stay = num_tokens - np.cumsum(plan.reveal)
    # The share rounded down, unless an earlier call would have revealed nothing.
    assert (stay <= share * num_tokens + 1e-6).all()
    ahead = np.minimum(np.arange(num_tokens - 1, num_tokens - steps - 1, -1), share * num_tokens)
    assert (stay > ahead - 1 - 1e-6).all()


def test_the_network_is_told_the_timestep_of_the_masked_share():
    plan = MaskGIT(4, mask_schedule="linear").plan(HUNDRED, 16)
    np.testing.assert_allclose(HUNDRED.cum_mask[plan.timestep], [1.0, 0.75, 0.5, 0.25], atol=0.006)


@pytest.mark.parametrize("mask_schedule", ["cosine", "linear"])
def test_as_many_are_revealed_as_planned_and_then_kept(mask_schedule):
    strategy = MaskGIT(5, mask_schedule=mask_schedule)
    _, path = run(strategy, all_mask_start(6, LENGTH, NUM_CODES))
    known = np.asarray(path != NUM_CODES)
    asked = np.cumsum(strategy.plan(HUNDRED, LENGTH).reveal)
    np.testing.assert_array_equal(known.sum(-1), np.broadcast_to(asked[:, None], (5, 6)))
    before, after = np.asarray(path[:-1]), np.asarray(path[1:])
    assert (after[before < NUM_CODES] == before[before < NUM_CODES]).all() and known[-1].all()


def test_a_partly_known_start_reveals_the_same_share():
    start = jnp.where(jnp.arange(LENGTH) < jnp.asarray([[0], [6], [11], [12]]), 0, NUM_CODES).astype(jnp.int32)
    _, path = run(MaskGIT(4, mask_schedule="linear"), start)
    np.testing.assert_array_equal(
        (np.asarray(path) == NUM_CODES).sum(-1), [[9, 4, 0, 0], [6, 2, 0, 0], [3, 1, 0, 0], [0, 0, 0, 0]]
    )


@pytest.mark.parametrize("mask_schedule", ["cosine", "linear"])
def test_one_token_a_call_without_noise_takes_the_likeliest_draw(mask_schedule):
    """With as many calls as tokens and temperature 0, tokens appear in the order of their codes' probabilities."""
    peaked = jnp.log(jnp.linspace(0.3, 0.95, LENGTH))[:, None] + jnp.where(jnp.arange(NUM_CODES) == 1, 0.0, -50.0)
    start = all_mask_start(2, LENGTH, NUM_CODES)
    _, path = run(
        MaskGIT(LENGTH, 0.0, mask_schedule), start, predict=lambda x, t: jnp.broadcast_to(peaked, (*x.shape, NUM_CODES))
    )
    expected = np.arange(LENGTH) >= LENGTH - 1 - np.arange(LENGTH)[:, None]
    np.testing.assert_array_equal(np.asarray(path) != NUM_CODES, np.broadcast_to(expected[:, None], path.shape))


def test_temperature_shuffles_the_order_and_recompiles_nothing():
    start, traces = all_mask_start(400, LENGTH, NUM_CODES), []

    def predict(tokens, timestep):
        traces.append(timestep)
        return log_x0_fn(tokens, timestep)

    plan, noise = MaskGIT(4).plan(HUNDRED, LENGTH), KeyNoise(image_keys(0, 0, 400))
    first = jax.jit(lambda s: denoise(predict, s, plan, noise, start, keep_trajectory=True)[1][0] != NUM_CODES)
    calm, hot = (np.asarray(first(MaskGIT(4, temperature))) for temperature in (0.0, 1e6))
    assert len(traces) == 1
    # With noise alone all positions are alike; without noise likely codes come first.
    spread = hot.mean(0).max() - hot.mean(0).min()
    assert spread < 0.12 < calm.mean(0).max() - calm.mean(0).min()


def test_a_picture_depends_on_its_seed_alone():
    start = all_mask_start(6, LENGTH, NUM_CODES)
    whole, _ = run(MaskGIT(4), start)
    np.testing.assert_array_equal(run(MaskGIT(4), start[:1], first=4)[0], whole[4:5])
    np.testing.assert_array_equal(run(MaskGIT(4), start)[0], whole)
    assert np.any(run(MaskGIT(4), start, seed=1)[0] != whole)


def test_codes_follow_the_prediction_where_one_call_draws_all():
    schedule = make_schedule(RELEASED)
    data = np.einsum("i,j,k->ijk", joint(1, 1), joint(1, 2), joint(1, 3))
    tokens, _ = run(
        MaskGIT(1), all_mask_start(20_000, 3, NUM_CODES), schedule=schedule, predict=exact_log_x0(schedule, data)
    )
    assert 0.5 * np.abs(frequencies(tokens, 3) - data).sum() < 0.03


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: MaskGIT(0), "num_inference_steps is 0"),
        (lambda: MaskGIT(13).plan(HUNDRED, LENGTH), "at most as many steps"),
        (lambda: MaskGIT(temperature=-1.0), "temperature is -1.0"),
        (lambda: MaskGIT(temperature=float("nan")), "temperature is nan"),
        (lambda: MaskGIT(mask_schedule="square"), "one of cosine, linear"),
    ],
)
def test_errors_name_what_is_wrong(make, match):
    with pytest.raises(ValueError, match=match) as error:
        make()
    assert "\n" not in str(error.value)
