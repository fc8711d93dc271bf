"""The loop against a data distribution whose p(x_0 | x_t) is exact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.sampling.toy import NOISY, NUM_CODES, RELEASED, exact_log_x0, forward_matrix, frequencies, joint
from vqdiffusion_jax.diffusion import make_schedule, posterior
from vqdiffusion_jax.sampling import (
    Ancestral,
    FewerTokens,
    KeyNoise,
    PurityPrior,
    RecordedNoise,
    all_mask_start,
    denoise,
    image_keys,
)

STRIDES = [None, 1, 2, 3, 7]


def _run(log_x0_fn, strategy, schedule, tokens, *, seed=0, **options):
    plan = strategy.plan(schedule, tokens.shape[1])
    noise = KeyNoise(image_keys(seed, 0, len(tokens)))
    return jax.jit(lambda s, p, n, x: denoise(log_x0_fn, s, p, n, x, **options))(strategy, plan, noise, tokens)


@pytest.mark.parametrize("num_steps", STRIDES)
@pytest.mark.parametrize("config", [NOISY, RELEASED], ids=["noisy", "released"])
def test_any_stride_passes_through_the_exact_marginals(num_steps, config):
    """With one token and an exact predictor, each jump's matrix leads from q(x_t) to q(x_s), down to the data."""
    schedule, data = make_schedule(config), joint(1)
    log_x0_fn = exact_log_x0(schedule, data)
    plan = Ancestral(num_steps).plan(schedule, 1)
    states = jnp.arange(NUM_CODES + 1)[:, None]
    marginal = data @ forward_matrix(schedule, plan.timestep[0])
    for call in range(len(plan)):
        row = plan[call]
        matrix = np.exp(np.asarray(posterior(log_x0_fn(states, row.timestep), states, row.jump), np.float64))[:, 0]
        marginal = marginal @ matrix
        s = plan.timestep[call + 1] if call + 1 < len(plan) else -1
        np.testing.assert_allclose(marginal, data @ forward_matrix(schedule, s), atol=2e-5)
    np.testing.assert_allclose(marginal[:NUM_CODES], data, atol=2e-5)


@pytest.mark.parametrize("num_steps", [None, 3])
def test_samples_of_independent_tokens_follow_the_data(num_steps):
    schedule = make_schedule(RELEASED)
    data = np.einsum("i,j,k->ijk", joint(1, 1), joint(1, 2), joint(1, 3))
    tokens, trajectory = _run(
        exact_log_x0(schedule, data), Ancestral(num_steps), schedule, all_mask_start(20_000, 3, NUM_CODES)
    )
    assert trajectory is None and tokens.dtype == jnp.int32
    assert 0.5 * np.abs(frequencies(tokens, 3) - data).sum() < 0.03


@pytest.mark.parametrize("strategy", [FewerTokens(), PurityPrior(0.0)], ids=["fewer", "purity"])
def test_one_token_a_call_samples_correlated_data_exactly(strategy):
    """Revealing one token at a time is ancestral sampling in a random order, exact for any joint distribution."""
    schedule, data = make_schedule(RELEASED), joint(3, 4)
    tokens, _ = _run(exact_log_x0(schedule, data), strategy, schedule, all_mask_start(20_000, 3, NUM_CODES))
    assert 0.5 * np.abs(frequencies(tokens, 3) - data).sum() < 0.03


def test_full_chain_beats_one_step_on_correlated_data():
    schedule, data = make_schedule(RELEASED), joint(2, 5)
    start, log_x0_fn = all_mask_start(20_000, 2, NUM_CODES), exact_log_x0(schedule, data)
    errors = [np.abs(frequencies(_run(log_x0_fn, Ancestral(n), schedule, start)[0], 2) - data).sum() for n in (1, 10)]
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize("make", [FewerTokens, PurityPrior])
def test_exactly_the_asked_number_is_revealed_and_then_kept(make):
    schedule, length = make_schedule(RELEASED), 12
    counts = (0, 1, 2, 1, 0, 3, 1, 1, 2, 1)
    strategy = make(counts=counts)

    def log_x0_fn(tokens, timestep):
        return jax.nn.log_softmax(
            jax.random.normal(jax.random.fold_in(jax.random.key(9), timestep), (*tokens.shape, NUM_CODES))
        )

    _, trajectory = _run(log_x0_fn, strategy, schedule, all_mask_start(5, length, NUM_CODES), keep_trajectory=True)
    known = np.asarray(trajectory != NUM_CODES)
    asked = np.cumsum([c for c in counts[:0:-1] if c])
    np.testing.assert_array_equal(known[:-1].sum(-1), np.broadcast_to(asked[:, None], (len(asked), 5)))
    before, after = np.asarray(trajectory[:-2]), np.asarray(trajectory[1:-1])
    assert (after[before != NUM_CODES] == before[before != NUM_CODES]).all()
    assert known[-1].all()  # t = 0 draws every token


@pytest.mark.parametrize("make", [FewerTokens, PurityPrior])
def test_a_partly_known_start_reveals_no_more_than_is_masked(make):
    schedule = make_schedule(RELEASED)
    start = jnp.asarray([[0, 1, NUM_CODES, NUM_CODES], [NUM_CODES] * 4], jnp.int32)

    def log_x0_fn(tokens, timestep):
        return jnp.full((*tokens.shape, NUM_CODES), -np.log(NUM_CODES), jnp.float32)

    _, trajectory = _run(log_x0_fn, make(counts=(0, 0, 0, 0, 0, 0, 0, 0, 3, 3)), schedule, start, keep_trajectory=True)
    np.testing.assert_array_equal((trajectory[:2] != NUM_CODES).sum(-1), [[4, 3], [4, 4]])
    np.testing.assert_array_equal(trajectory[1][0, :2], [0, 1])


# One strategy for each step: ReferenceFast steps as Ancestral does, and FewerTokens as PurityPrior
STRATEGIES = [Ancestral(4), PurityPrior(1.0)]
IDS = ["ancestral", "purity"]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=IDS)
def test_pieces_of_a_plan_equal_the_whole(strategy):
    schedule, data = make_schedule(RELEASED), joint(3)
    log_x0_fn, start = exact_log_x0(schedule, data), all_mask_start(6, 3, NUM_CODES)
    plan, noise = strategy.plan(schedule, 3), KeyNoise(image_keys(0, 0, 6))
    run = jax.jit(
        lambda part, x, first: denoise(log_x0_fn, strategy, part, noise, x, first_call=first, keep_trajectory=True)
    )
    whole, path = run(plan, start, 0)
    assert path.shape == (len(plan), 6, 3)
    np.testing.assert_array_equal(path[-1], whole)
    tokens = start
    for first in range(0, len(plan), 2):
        tokens, _ = run(plan[first : first + 2], tokens, first)
        np.testing.assert_array_equal(tokens, path[min(first + 1, len(plan) - 1)])


@pytest.mark.parametrize("strategy", STRATEGIES, ids=IDS)
def test_a_picture_does_not_depend_on_its_neighbours(strategy):
    schedule, data = make_schedule(RELEASED), joint(3)
    log_x0_fn, plan = exact_log_x0(schedule, data), strategy.plan(schedule, 3)
    whole, _ = denoise(log_x0_fn, strategy, plan, KeyNoise(image_keys(0, 0, 6)), all_mask_start(6, 3, NUM_CODES))
    part, _ = denoise(log_x0_fn, strategy, plan, KeyNoise(image_keys(0, 4, 1)), all_mask_start(1, 3, NUM_CODES))
    np.testing.assert_array_equal(whole[4:5], part)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=IDS)
def test_known_tokens_are_imposed_at_every_call(strategy):
    schedule, data = make_schedule(RELEASED), joint(3)
    mask = jnp.asarray([[True, False, False]] * 5)
    values = jnp.full((5, 3), 2, jnp.int32)
    seen = exact_log_x0(schedule, data)
    _, path = _run(
        seen, strategy, schedule, all_mask_start(5, 3, NUM_CODES), known=(mask, values), keep_trajectory=True
    )
    assert (path[:, :, 0] == 2).all() and (path[-1] < NUM_CODES).all()


def test_known_tokens_condition_the_rest():
    """With one token a call and the first token given, the others follow p(rest | first)."""
    schedule, data = make_schedule(RELEASED), joint(2, 6)
    given = np.full((20_000, 2), 3)
    known = (jnp.asarray([[True, False]] * 20_000), jnp.asarray(given, jnp.int32))
    tokens, _ = _run(
        exact_log_x0(schedule, data), FewerTokens(), schedule, all_mask_start(20_000, 2, NUM_CODES), known=known
    )
    got = np.bincount(np.asarray(tokens)[:, 1], minlength=NUM_CODES) / 20_000
    np.testing.assert_allclose(got, data[3] / data[3].sum(), atol=0.02)


def test_too_little_recorded_noise_is_refused():
    schedule = make_schedule(RELEASED)
    noise = RecordedNoise(np.zeros((10, 1, 2, NUM_CODES + 1), np.float32))
    log_x0_fn, plan = exact_log_x0(schedule, joint(2)), Ancestral().plan(schedule, 2)
    with pytest.raises(ValueError, match="draws 1 to 10; 10 are recorded"):
        denoise(log_x0_fn, Ancestral(), plan, noise, all_mask_start(1, 2, NUM_CODES), first_call=1)


def test_a_strategy_of_ones_own_needs_two_methods():
    class Greedy:
        def plan(self, schedule, num_tokens):
            return Ancestral(3).plan(schedule, num_tokens)

        def step(self, call, log_x0, tokens, noise, draw):
            return jnp.argmax(log_x0, axis=-1).astype(jnp.int32)

    schedule, data = make_schedule(RELEASED), joint(2)
    noise = KeyNoise(image_keys(0, 0, 1))
    plan = Greedy().plan(schedule, 2)
    tokens, _ = denoise(exact_log_x0(schedule, data), Greedy(), plan, noise, all_mask_start(1, 2, NUM_CODES))
    assert tokens.shape == (1, 2)
