"""A data distribution small enough that p(x_0 | x_t) is known exactly, by Bayes' rule over every picture."""

import itertools

import jax.numpy as jnp
import numpy as np

from vqdiffusion_jax.config import ScheduleConfig

NUM_CODES = 4
# Much replacement noise, unlike the released schedule, shows a wrong replacement term.
NOISY = ScheduleConfig(
    num_codes=NUM_CODES, num_timesteps=10, keep_start=0.97, keep_end=0.02, mask_start=0.01, mask_end=0.7
)
RELEASED = ScheduleConfig(num_codes=NUM_CODES, num_timesteps=10)


def forward_matrix(schedule, t) -> np.ndarray:
    """Return q(x_t | x_0): (num_codes, num_codes + 1) float64."""
    codes = np.eye(NUM_CODES) * schedule.cum_keep[t] + schedule.cum_uniform[t]
    return np.concatenate([codes, np.full((NUM_CODES, 1), schedule.cum_mask[t])], axis=1)


def joint(length: int, seed: int = 0) -> np.ndarray:
    """Return a correlated p(x_0) over all pictures: (num_codes,) * length."""
    weights = np.random.default_rng(seed).gamma(0.4, size=(NUM_CODES,) * length) + 1e-3
    return weights / weights.sum()


def exact_log_x0(schedule, data: np.ndarray):
    """Return the LogX0Fn that knows p(x_0^i | x_t) for every position i, given all of x_t."""
    length = data.ndim
    pictures = np.asarray(list(itertools.product(range(NUM_CODES), repeat=length)))  # (P, length)
    prior = jnp.asarray(data.reshape(-1), jnp.float32)
    tables = jnp.asarray(np.stack([forward_matrix(schedule, t) for t in range(schedule.num_timesteps)]), jnp.float32)
    is_code = jnp.asarray(pictures[:, :, None] == np.arange(NUM_CODES), jnp.float32)  # (P, length, num_codes)

    def log_x0_fn(tokens, timestep):
        likelihood = tables[timestep][pictures[None], tokens[:, None, :]]  # (B, P, length)
        weights = prior * jnp.prod(likelihood, axis=-1)
        weights = weights / weights.sum(axis=-1, keepdims=True)
        return jnp.log(jnp.maximum(jnp.einsum("bp,plk->blk", weights, is_code), 1e-30)).clip(-70.0, 0.0)

    return log_x0_fn


def frequencies(tokens, length: int) -> np.ndarray:
    """Return the counts of whole pictures as a distribution: (num_codes,) * length."""
    index = np.ravel_multi_index(np.asarray(tokens).T, (NUM_CODES,) * length)
    return (np.bincount(index, minlength=NUM_CODES**length) / len(index)).reshape((NUM_CODES,) * length)
