"""One guided and truncated denoising step of a random model: the whole step, and the tail without the network."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._models import random_tokens
from vqdiffusion_jax.diffusion.schedule import make_schedule
from vqdiffusion_jax.generation import Condition, Request, advance, prepare
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.sampling import Ancestral, Guidance, KeyNoise, TopR, image_keys

SCALE, RATE = 5.0, 0.86


def request_of(
    model: VQDiffusionModel, batch: int, steps: int, *, guided: bool = True, rate: float | None = RATE
) -> Request:
    """Return a request of ``steps`` calls from the middle of a run, with random text states and null states."""
    config = model.config
    denoiser = config.denoiser
    plan = Ancestral().plan(make_schedule(config.schedule), denoiser.num_tokens)
    first = max(len(plan) // 2 - steps // 2, 0)
    return Request(
        condition=_condition(config, batch, 3),
        null=_condition(config, batch, 4) if guided else None,
        strategy=Ancestral(),
        plan=plan[first : first + steps],
        guidance=Guidance(SCALE if guided else 1.0),
        truncation=None if rate is None else TopR(rate),
        noise=KeyNoise(image_keys(0, 0, batch)),
        start=jnp.asarray(random_tokens(config, batch)),
    )


def _condition(config: Any, batch: int, seed: int) -> Condition:
    denoiser, draw = config.denoiser, np.random.default_rng(seed)
    if denoiser.condition == "text":
        states = draw.standard_normal((batch, denoiser.condition_length, denoiser.condition_width), np.float32)
        return Condition(embedding=jnp.asarray(states / np.linalg.norm(states, axis=-1, keepdims=True)))
    return Condition(labels=jnp.asarray(draw.integers(0, denoiser.num_classes, batch), jnp.int32))


def compiled_steps(model: VQDiffusionModel, request: Request):
    """Return a function of no arguments that runs the request's calls and waits; preparation is done once, here."""
    prepared = jax.block_until_ready(jax.jit(prepare)(model, request))
    run = jax.jit(advance)
    return lambda: jax.block_until_ready(run(model, prepared, request)[0])


def compiled_tail(model: VQDiffusionModel, request: Request):
    """Return the same for the tail alone: one pass over ready-made logits stands in for the network."""
    from vqdiffusion_jax.sampling import denoise, predictor

    draw = jax.random.normal(jax.random.key(5), (2, *request.start.shape, model.config.denoiser.num_codes)) * 3

    @jax.jit
    def run(logits, request):
        def logits_fn(tokens, timestep, guided):
            return tuple(jax.lax.optimization_barrier(logits + tokens[0, 0] * 1e-12))

        log_x0 = predictor(logits_fn, request.guidance, request.truncation)
        return denoise(log_x0, request.strategy, request.plan, request.noise, request.start)[0]

    return lambda: jax.block_until_ready(run(draw, request))
