import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.sampling.toy import NUM_CODES, exact_log_x0, forward_matrix, joint
from vqdiffusion_jax.config import ScheduleConfig
from vqdiffusion_jax.diffusion import make_schedule, posterior
from vqdiffusion_jax.sampling import Ancestral, best_timesteps, bound_of

ABSORBING = make_schedule(  # as released, with even less replacement
    ScheduleConfig(
        num_codes=NUM_CODES,
        num_timesteps=8,
        keep_start=1 - 2e-9,
        keep_end=1e-5 - 2e-14,
        mask_start=1e-9,
        mask_end=1 - 1e-5,
    )
)


jitted_posterior = jax.jit(posterior)


def bound_terms(schedule, log_x0_fn, data, timesteps) -> np.ndarray:
    """Return the nats of each jump in expectation over x_0 and x_t.

    KL(q(x_s | x_t, x_0) || p(x_s | x_t)), or -ln p(x_0 | x_t) for a jump to clean data.
    """
    length, terms = data.ndim, []
    pictures = np.asarray(list(itertools.product(range(NUM_CODES), repeat=length)))
    states = np.asarray(list(itertools.product(range(NUM_CODES + 1), repeat=length)))
    certain = jnp.repeat(
        jnp.log(jnp.eye(NUM_CODES) + 1e-30)[pictures], len(states), axis=0
    )  # every picture with every state
    for t, s in zip(timesteps, [*timesteps[1:], -1], strict=True):
        weight = data.reshape(-1)[:, None] * np.prod(
            forward_matrix(schedule, t)[pictures[:, None], states[None]], axis=-1
        )
        jump = schedule.jumps(t, s)
        guess = np.tile(
            jitted_posterior(log_x0_fn(jnp.asarray(states), t), jnp.asarray(states), jump), (len(pictures), 1, 1)
        )
        true = np.asarray(jitted_posterior(certain, jnp.tile(states, (len(pictures), 1)), jump), np.float64)
        terms.append(weight.reshape(-1) @ (np.exp(true) * (true - guess)).sum((-1, -2)))
    return np.asarray(terms)


def test_the_bound_of_a_run_is_what_its_jumps_cost():
    """The bound from the terms of a run that visits every timestep is the sum of the jumps' own KL."""
    data = joint(2, 6)
    log_x0_fn = exact_log_x0(ABSORBING, data)
    terms = bound_terms(ABSORBING, log_x0_fn, data, range(7, -1, -1))[::-1]
    assert terms[1:].min() > 0.01
    for run in [(7, 4, 1), (7,), (7, 6, 5, 0), tuple(range(7, -1, -1))]:
        assert bound_of(run, terms, ABSORBING) == pytest.approx(
            bound_terms(ABSORBING, log_x0_fn, data, run).sum(), rel=1e-3
        )


@pytest.mark.parametrize("num_steps", range(1, 9))
@pytest.mark.parametrize("seed", range(3))
def test_no_run_of_as_many_steps_has_a_smaller_bound(num_steps, seed):
    terms = np.random.default_rng(seed).gamma(0.5, size=8)
    found = best_timesteps(terms, ABSORBING, num_steps)
    every = [(7, *rest[::-1]) for rest in itertools.combinations(range(7), num_steps - 1)]
    least = min(bound_of(run, terms, ABSORBING) for run in every)
    assert found in every and bound_of(found, terms, ABSORBING) == pytest.approx(least, rel=1e-12)
    np.testing.assert_array_equal(Ancestral(timesteps=found).plan(ABSORBING, 4).timestep, found)


def test_steps_are_put_where_the_guess_improves():
    """A guess at timestep 5 that is as good as any later one is worth a step, and no later guess is."""
    terms = np.where(np.arange(8) > 5, 4.0, 1.0) / 7  # each timestep but 0 masks as many tokens
    assert best_timesteps(terms, ABSORBING, 2) == (7, 5)
    assert bound_of((7, 5), terms, ABSORBING) == pytest.approx(8 / 7 + 5 / 7 + 1 / 7, rel=1e-4)
    assert bound_of((7, 5, 3, 1), terms, ABSORBING) == pytest.approx(bound_of((7, 5), terms, ABSORBING))


@pytest.mark.parametrize(
    ("terms", "num_steps", "match"),
    [
        (np.ones(8), 0, "1 to 8 time"),
        (np.ones(8), 9, "1 to 8 time"),
        (np.ones(7), 3, "8 finite"),
        (np.full(8, np.nan), 3, "8 finite"),
    ],
)
def test_errors_name_what_is_wrong(terms, num_steps, match):
    with pytest.raises(ValueError, match=match) as error:
        best_timesteps(terms, ABSORBING, num_steps)
    assert "\n" not in str(error.value)
