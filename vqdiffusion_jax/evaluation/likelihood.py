"""The variational bound of held-out tokens, in bits a token, whole and by timestep.

Row t of the terms is KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)), summed
exactly over the codes; row 0 is the decoder's -ln p(x_0 | x_t); the prior is
in closed form (``diffusion.bound``).  What is estimated is the
expectation over x_t, by ``draws`` draws a timestep whose noise depends on the
seed and on the example's number alone: neither batch size nor sharding changes it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..diffusion.bound import bound_terms, prior_nats
from ..diffusion.schedule import make_schedule
from ..errors import EvaluationError
from ..models.clip import text_embedding
from ..models.vqdiffusion import VQDiffusionModel
from ..models.vqgan import images_to_float
from ..random_keys import key_of

NATS = "bound_nats"
_ENCODER_DRAW = 2**30  # the codec's own noise, apart from every draw of x_t


@dataclass(frozen=True)
class Likelihood:
    """The bound, in bits a token.

    bits_per_token: the whole, prior + by_timestep.sum().
    standard_error: of its mean over examples.
    prior: the part that no network changes.
    by_timestep: (num_timesteps,), the part of each timestep, the decoder's first.
    """

    bits_per_token: float
    standard_error: float
    prior: float
    by_timestep: np.ndarray


def make_terms(
    model: VQDiffusionModel, *, seed: int = 0, draws: int = 1
) -> Callable[[Mapping[str, jax.Array], jax.Array], jax.Array]:
    """Return ``terms(batch, numbers) -> (n, num_timesteps) float32`` nats, summed over positions.

    batch: ``tokens`` (n, length) or ``images`` (n, height, width, 3) uint8, with ``text_ids`` (n, context) or
    ``labels`` (n,).  numbers: (n,), the examples' numbers in the data set.  Terms lie where batch and model do.
    """
    key = key_of(seed)
    return lambda batch, numbers: _terms(model, dict(batch), numbers, key, draws)


@functools.partial(jax.jit, static_argnames="draws")
def _terms(model: VQDiffusionModel, batch: dict, numbers: jax.Array, key: jax.Array, draws: int) -> jax.Array:
    config, schedule = model.config, make_schedule(model.config.schedule)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)
    if "tokens" in batch:
        x0 = batch["tokens"]
    else:
        x0 = model.codec.encode(
            images_to_float(batch["images"]), key=jax.vmap(jax.random.fold_in, (0, None))(keys, _ENCODER_DRAW)
        )
    condition: Any = batch.get("labels")
    if model.text_encoder is not None and config.text_embedding is not None:
        condition = text_embedding(model.text_encoder, batch["text_ids"], config.text_embedding)

    def draw(number):
        return bound_terms(
            model.denoiser, schedule, x0, condition, jax.vmap(jax.random.fold_in, (0, None))(keys, number)
        )

    return jax.lax.map(draw, jnp.arange(draws)).mean(axis=0).T


def summarise(nats: np.ndarray, model: VQDiffusionModel) -> Likelihood:
    """Return the bound of all examples from their terms (n, num_timesteps).

    Raises EvaluationError if one is not finite.
    """
    nats = np.asarray(nats, np.float64)
    if not np.isfinite(nats).all():
        raise EvaluationError(
            f"the bound of {int((~np.isfinite(nats)).any(axis=1).sum())} of {len(nats)} examples is not finite"
        )
    bits = nats / (model.config.denoiser.num_tokens * math.log(2.0))
    prior = prior_nats(make_schedule(model.config.schedule)) / math.log(2.0)
    whole = bits.sum(axis=1)
    error = float(whole.std(ddof=1) / math.sqrt(len(whole))) if len(whole) > 1 else 0.0
    return Likelihood(float(whole.mean()) + prior, error, prior, bits.mean(axis=0))
