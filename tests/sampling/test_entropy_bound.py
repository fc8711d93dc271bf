import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.sampling.toy import NUM_CODES, RELEASED, exact_log_x0, frequencies, joint
from vqdiffusion_jax.config import ScheduleConfig
from vqdiffusion_jax.diffusion import make_schedule
from vqdiffusion_jax.sampling import (
    EntropyBound,
    Guidance,
    KeyNoise,
    TopK,
    all_mask_start,
    denoise,
    image_keys,
    predictor,
)
from vqdiffusion_jax.sampling.entropy_bound import entropy

HUNDRED = make_schedule(ScheduleConfig(num_codes=NUM_CODES))
LENGTH = 10
# Later positions are less certain; the first two are nearly certain.
ROWS = jax.nn.log_softmax(jnp.asarray([8.0, 0.0, -0.5, -2.0]) / (0.4 + jnp.arange(LENGTH))[:, None])


def log_x0_fn(tokens, timestep):
    return jnp.broadcast_to(ROWS, (*tokens.shape, NUM_CODES))


@functools.partial(jax.jit, static_argnames="predict")
def compiled(predict, strategy, plan, noise, start, known):
    return denoise(predict, strategy, plan, noise, start, known=known, keep_trajectory=True)


def run(gamma, start, *, first=0, schedule=HUNDRED, predict=log_x0_fn, known=None):
    strategy, noise = EntropyBound(gamma), KeyNoise(image_keys(0, first, len(start)))
    return compiled(predict, strategy, strategy.plan(schedule, start.shape[1]), noise, start, known)


def calls_made(path) -> np.ndarray:
    """Return the number of calls until each picture was whole."""
    return np.asarray((path == NUM_CODES).any(-1).sum(0)) + 1


def test_entropy_is_that_of_what_truncation_leaves():
    log_x0 = jnp.log(jnp.asarray([[[0.5, 0.25, 0.25, 0.0], [0.25, 0.25, 0.25, 0.25]]])).clip(-70.0)
    np.testing.assert_allclose(entropy(log_x0), [[1.5 * np.log(2), np.log(4)]], rtol=1e-6)
    np.testing.assert_allclose(
        entropy(TopK(2)(log_x0)), [[-2 / 3 * np.log(2 / 3) - np.log(1 / 3) / 3, np.log(2)]], rtol=1e-6
    )
    assert entropy(TopK(1)(log_x0)).max() < 1e-6


def test_no_entropy_reveals_one_a_call_from_the_most_certain_on():
    _, path = run(0.0, all_mask_start(2, LENGTH, NUM_CODES))
    known = np.asarray(path) != NUM_CODES
    np.testing.assert_array_equal(known, np.broadcast_to(np.tri(LENGTH, dtype=bool)[:, None], known.shape))


def test_certain_tokens_cost_nothing():
    certain = jnp.where(jnp.arange(NUM_CODES) == 2, 0.0, -70.0)
    rows = jnp.where(jnp.arange(LENGTH)[:, None] < 7, certain, ROWS)[None]
    tokens, path = run(1e-6, all_mask_start(1, LENGTH, NUM_CODES), predict=lambda x, t: rows)
    assert (np.asarray(path[0]) != NUM_CODES).sum() == 8 and (
        np.asarray(tokens)[0, :7] == 2
    ).all()  # seven and the first uncertain one
    assert calls_made(path).tolist() == [3]


def test_infinite_entropy_reveals_all_in_one_call():
    tokens, path = run(float("inf"), all_mask_start(3, LENGTH, NUM_CODES))
    assert (np.asarray(path[0]) < NUM_CODES).all() and path.shape == (LENGTH, 3, LENGTH)
    np.testing.assert_array_equal(
        path, np.broadcast_to(np.asarray(tokens), path.shape)
    )  # the trajectory repeats the last tokens


@pytest.mark.parametrize("gamma", [0.1, 1.0, 3.0])
def test_each_call_reveals_as_many_as_the_bound_allows(gamma):
    _, path = run(gamma, all_mask_start(1, LENGTH, NUM_CODES))
    entropies, expected = np.asarray(entropy(ROWS[None]), np.float64)[0], []
    left = list(range(LENGTH))
    while left:
        count = max(
            n
            for n in range(1, len(left) + 1)
            if n == 1 or entropies[left[:n]].sum() - entropies[left[:n]].max() <= gamma
        )
        left = left[count:]
        expected.append(LENGTH - len(left))
    found = (np.asarray(path)[:, 0] != NUM_CODES).sum(-1)
    assert found[: len(expected)].tolist() == expected and (found[len(expected) :] == LENGTH).all()


def test_the_loop_ends_when_all_are_whole_and_tells_each_its_own_noise_level():
    asked = []

    def predict(tokens, timestep):
        jax.debug.callback(lambda x, t: asked.append((np.array(x), np.array(t))), tokens, timestep, ordered=True)
        return log_x0_fn(tokens, timestep)

    start = jnp.where(jnp.arange(LENGTH) < jnp.asarray([[0], [5], [LENGTH]]), 1, NUM_CODES).astype(jnp.int32)
    tokens, path = run(1.0, start, predict=predict)
    jax.block_until_ready(tokens)
    jax.effects_barrier()
    made = calls_made(path)
    assert made[0] > made[1] >= made[2] == 1 and len(asked) == made[0] < LENGTH
    for x, timestep in asked:
        share = (x == NUM_CODES).mean(-1)
        assert timestep.shape == (3,)
        np.testing.assert_allclose(HUNDRED.cum_mask[timestep], np.maximum(share, HUNDRED.cum_mask[0]), atol=0.006)
    np.testing.assert_array_equal(tokens[2], start[2])


def test_whole_pictures_need_no_call():
    start = jnp.ones((2, LENGTH), jnp.int32)

    def never(tokens, timestep):
        jax.debug.callback(lambda: calls.append(1))
        return log_x0_fn(tokens, timestep)

    calls = []
    tokens, path = run(1.0, start, predict=never)
    jax.block_until_ready(tokens)
    jax.effects_barrier()
    assert not calls
    np.testing.assert_array_equal(path, np.ones((LENGTH, 2, LENGTH)))


def test_a_picture_does_not_depend_on_its_neighbours():
    start = jnp.where(jnp.arange(LENGTH) < jnp.asarray([[0], [3], [9], [6]]), 1, NUM_CODES).astype(jnp.int32)
    whole, path = run(0.3, start)
    assert len(set(calls_made(path).tolist())) > 1
    for row in range(4):
        alone, _ = run(0.3, start[row : row + 1], first=row)
        np.testing.assert_array_equal(alone[0], whole[row])


def test_what_a_step_does_to_a_whole_picture_does_not_matter():
    class Restless(EntropyBound):
        def step(self, call, log_x0, tokens, noise, draw):
            return jnp.where(
                tokens == NUM_CODES, super().step(call, log_x0, tokens, noise, draw), (tokens + 1) % NUM_CODES
            )

    start = jnp.asarray([[2] * LENGTH, [NUM_CODES] * LENGTH], jnp.int32)
    tokens, _ = denoise(
        log_x0_fn, Restless(0.0), Restless(0.0).plan(HUNDRED, LENGTH), KeyNoise(image_keys(0, 0, 2)), start
    )
    np.testing.assert_array_equal(tokens[0], start[0])


def test_pieces_equal_the_whole():
    start = all_mask_start(4, LENGTH, NUM_CODES)
    whole, _ = run(0.5, start)
    strategy, noise = EntropyBound(0.5), KeyNoise(image_keys(0, 0, 4))
    plan, tokens = strategy.plan(HUNDRED, LENGTH), start
    piece = jax.jit(lambda part, x, first: denoise(log_x0_fn, strategy, part, noise, x, first_call=first)[0])
    for first in range(0, LENGTH, 2):
        tokens = piece(plan[first : first + 2], tokens, first)
    np.testing.assert_array_equal(tokens, whole)


def test_known_tokens_stay_and_are_not_counted_as_masked():
    mask, values = jnp.arange(LENGTH) < jnp.asarray([[8], [8]]), jnp.full((2, LENGTH), 3, jnp.int32)
    tokens, path = run(0.0, all_mask_start(2, LENGTH, NUM_CODES), known=(mask, values))
    assert (np.asarray(tokens)[:, :8] == 3).all() and calls_made(path).tolist() == [2, 2]


def test_one_token_a_call_samples_correlated_data_exactly():
    schedule, data = make_schedule(RELEASED), joint(3, 4)
    exact = exact_log_x0(schedule, data)

    def predict(tokens, timestep):  # the same at every timestep, as without replacement noise
        return exact(tokens, 5)

    tokens, _ = run(0.0, all_mask_start(20_000, 3, NUM_CODES), schedule=schedule, predict=predict)
    assert 0.5 * np.abs(frequencies(tokens, 3) - data).sum() < 0.03


def test_guidance_interval_acts_picture_by_picture():
    cond, null = jax.nn.log_softmax(jax.random.normal(jax.random.key(0), (2, 3, 4, NUM_CODES)))
    predict = predictor(lambda tokens, timestep, guided: (cond, null if guided else None), Guidance(3.0, (10, 20)))
    tokens = jnp.zeros((3, 4), jnp.int32)
    each = [predict(tokens, jnp.int32(t)) for t in (5, 15, 25)]
    together = predict(tokens, jnp.asarray([5, 15, 25]))
    np.testing.assert_array_equal(together, np.stack([out[row] for row, out in enumerate(each)]))
    np.testing.assert_array_equal(predict(tokens, jnp.asarray([5, 9, 25])), each[0])
    assert np.abs(each[1] - each[0]).max() > 0.1


@pytest.mark.parametrize("gamma", [-0.1, float("nan")])
def test_errors_name_what_is_wrong(gamma):
    with pytest.raises(ValueError, match="entropy_bound is .* from 0 to inf") as error:
        EntropyBound(gamma)
    assert "\n" not in str(error.value)
