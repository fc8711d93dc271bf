"""Pictures of the known process, drawn by the package's own strategies, guidance and truncation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vqdiffusion_jax.config import ScheduleConfig
from vqdiffusion_jax.diffusion.schedule import Schedule, make_schedule
from vqdiffusion_jax.sampling import (
    Ancestral,
    FewerTokens,
    Guidance,
    KeyNoise,
    SamplingSettings,
    TopR,
    denoise,
    image_keys,
    paired_logits,
    predictor,
)
from vqdiffusion_jax.sampling.fewer_tokens import _reveal_or_draw
from vqdiffusion_jax.sampling.fields import setting
from vqdiffusion_jax.sampling.loop import LogitsFn
from vqdiffusion_jax.sampling.reveal import purity, sharpen
from vqdiffusion_jax.sampling.strategy import Strategy, for_steps

from ._known_joint_process import Process
from ._known_joint_train import Trained, condition_of, null_of

BATCH = 500  # pictures drawn together


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SharpenedTokens(FewerTokens):
    """Fewer tokens at evenly drawn positions, with codes as sharp as the purity prior's: its second half alone."""

    weight: float = setting(1.0, static=False, type=float, least=0.0, help="Sharpening, as purity_weight.")

    def step(self, call, log_x0, tokens, noise, draw):
        def sharpened():
            return sharpen(log_x0, purity(log_x0), self.weight)

        return _reveal_or_draw(call, log_x0, tokens, noise, draw, lambda: jnp.ones(tokens.shape), sharpened)


def schedule_of(process: Process, num_timesteps: int) -> Schedule:
    """Return linear noise that masks alone: the marginals are then exact in closed form."""
    return make_schedule(ScheduleConfig(num_codes=process.num_codes, num_timesteps=num_timesteps, name="linear"))


def draw(
    process: Process,
    settings: SamplingSettings,
    captions: np.ndarray,
    *,
    seed: int,
    timesteps: int = 100,
    used: float = 1.0,
    network: Trained | None = None,
    null: str = "learned",
) -> np.ndarray:
    """Return pictures (n, cells) of captions, uint8; picture i has the same noise whatever the settings.

    network: None for the exact marginals.  used: see ``Process.kinds_given``, of exact marginals.
    null: of a network, see ``null_of``.
    """
    settings = settings.completed(Ancestral())
    strategy = settings.strategy
    assert isinstance(strategy, Strategy) and settings.guidance_scale is not None
    plan = strategy.plan(schedule_of(process, timesteps), process.length)
    keys = image_keys(seed, 0, len(captions))
    drawn = []
    for first in range(0, len(captions), BATCH):
        rows = slice(first, min(first + BATCH, len(captions)))
        if network is None:
            with np.errstate(divide="ignore"):
                beliefs = np.log(process.kinds_given(captions[rows], used)), np.log(process.prior)
            given = tuple(jnp.asarray(np.maximum(one, -1e4), jnp.float32) for one in beliefs)
        else:
            given = condition_of(process, captions[rows]), null_of(process, network.denoiser, null, BATCH)
        tokens = _drawn(process)(
            network.denoiser if network else None,
            given,
            Guidance(settings.guidance_scale, plausibility=settings.guidance_plausibility),
            TopR(settings.truncation_rate or 1.0),
            for_steps(strategy),
            plan.padded(),
            len(plan),
            KeyNoise(keys[rows]),
        )
        drawn.append(np.asarray(tokens, np.uint8))
    return np.concatenate(drawn)


@cache
def _drawn(process: Process) -> Any:
    return jax.jit(partial(_batch, process))


def _batch(process, denoiser, given, guidance, truncation, strategy, plan, calls, noise):
    """Return the tokens of a batch; ``given`` are the conditions, then the null condition."""
    count = noise.keys.shape[0]
    logits_fn: LogitsFn
    if denoiser is None:

        def exact(tokens, timestep, guided):
            marginals = process.log_marginals(tokens, given if guided else given[:1])
            return marginals[0], marginals[1] if guided else None

        logits_fn = exact

    else:
        modulation = denoiser.modulation_table()

        def forward(tokens, timestep, conditioning):
            return denoiser(tokens, timestep, conditioning=conditioning, modulation=modulation)

        conditional = denoiser.precompute(given[0])
        both = None
        if guidance.active:
            twice = jnp.stack([given[0], given[1][:count]], axis=1).reshape(-1, *given[0].shape[1:])
            both = denoiser.precompute(twice)
        logits_fn = paired_logits(forward, conditional, both)
    start = jnp.full((count, process.length), process.num_codes, jnp.int32)
    return denoise(predictor(logits_fn, guidance, truncation), strategy, plan, noise, start, last=calls)[0]
