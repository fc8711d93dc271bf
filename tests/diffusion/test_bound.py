"""The bound against enumeration of every path of a chain small enough to write down."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from vqdiffusion_jax.config import ScheduleConfig
from vqdiffusion_jax.diffusion import transitions
from vqdiffusion_jax.diffusion.bound import bound_terms, prior_nats
from vqdiffusion_jax.diffusion.schedule import make_schedule

SCHEDULE = make_schedule(
    ScheduleConfig(num_codes=2, num_timesteps=3, keep_start=0.8, keep_end=0.2, mask_start=0.1, mask_end=0.6)
)


class TableDenoiser:
    """One token, two codes: logits looked up by (timestep, token)."""

    table = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3, 2)), jnp.float32)

    def precompute(self, condition):
        return None

    def modulation_table(self):
        return {}

    def __call__(self, tokens, timesteps, *, conditioning, modulation):
        return self.table[timesteps[:, None], tokens]


def reverse(t: int, x_t: int) -> np.ndarray:
    """p(x_{t-1} | x_t) of the model over codes and [MASK], from its parts."""
    log_x0 = transitions.predict_start(TableDenoiser.table[t, x_t][None, None])
    return np.exp(
        np.asarray(
            transitions.posterior(log_x0, jnp.array([[x_t]]), SCHEDULE.one_step_jumps()[np.array([t])]), np.float64
        )
    )[0, 0]


def step_matrix(keep: float, uniform: float, mask: float) -> np.ndarray:
    """q(to | from) for from, to in code 0, code 1, [MASK]."""
    return np.array([[keep + uniform, uniform, mask], [uniform, keep + uniform, mask], [0, 0, 1]])


def enumerated_bound(x0: int) -> float:
    """E_q[ln q(x_0..2 | x0) - ln p(all)] over every path, in nats: t = 0, 1, 2 are the noised states."""
    q = [step_matrix(SCHEDULE.keep[t], SCHEDULE.uniform[t], SCHEDULE.mask[t]) for t in range(3)]
    mask = SCHEDULE.cum_mask[2]
    prior = np.array([(1 - mask) / 2, (1 - mask) / 2, mask])
    total = 0.0
    for path in itertools.product(range(3), repeat=3):
        forward = q[0][x0, path[0]] * q[1][path[0], path[1]] * q[2][path[1], path[2]]
        if forward > 0:
            backward = (
                prior[path[2]] * reverse(2, path[2])[path[1]] * reverse(1, path[1])[path[0]] * reverse(0, path[0])[x0]
            )
            total += forward * (math.log(forward) - math.log(backward))
    return total


def test_equals_enumeration():
    draws = 40_000
    keys = jax.random.split(jax.random.key(0), draws)
    for x0 in (0, 1):
        terms = jax.jit(lambda tokens: bound_terms(TableDenoiser(), SCHEDULE, tokens, None, keys))(
            jnp.full((draws, 1), x0, jnp.int32)
        )  # noqa: B023
        samples = np.asarray(terms.sum(0), np.float64) + prior_nats(SCHEDULE)
        error = samples.std() / math.sqrt(draws)
        assert abs(samples.mean() - enumerated_bound(x0)) < 5 * error + 1e-4
        assert error < 0.01
