"""Confidence-based parallel decoding.

Chang et al. 2022, "MaskGIT: Masked Generative Image Transformer", section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import LogProbs, Tokens
from ..diffusion.schedule import Schedule
from ..errors import SettingError
from .fields import check_fields, setting
from .noise import Noise
from .reveal import draw_codes, first_masked, nearest_timestep
from .strategy import NUM_INFERENCE_STEPS, Plan

MASK_SCHEDULES = ("cosine", "linear")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MaskGIT:
    """Draw every masked token from p(x_0), keep those of the highest confidence, and mask the rest again.

    Confidence is ln p(x_0 = the drawn code) + temperature * (1 - i/N) * Gumbel noise at call i of N.  A revealed token
    is never drawn again.  The network is told the timestep at which as many tokens are masked in training.

    num_inference_steps: network calls N, at most one a token.
    temperature: at least 0, traced data; 0 always keeps the likeliest.
    mask_schedule: the share that stays masked after call i: "cosine" for cos(pi i / 2N), "linear" for 1 - i/N.  At
    least one token is revealed a call.  Of a partly known start, a call reveals the same share of the masked tokens as
    of a whole picture.
    Raises SettingError for values outside these, and in ``plan`` for more steps than tokens.
    """

    explanation: ClassVar[str] = "draws every masked token and keeps the surest: good in few steps"

    num_inference_steps: int = setting(12, **NUM_INFERENCE_STEPS)
    temperature: float | jax.Array = setting(
        4.5, static=False, type=float, least=0.0, help="Noise in the choice of the tokens that stay; 0 for none."
    )
    mask_schedule: str = setting(
        "cosine",
        plan_only=True,
        type=str,
        choices=MASK_SCHEDULES,
        help="Course of the share of tokens that stay masked.",
    )

    def __post_init__(self):
        check_fields(self)

    def with_calls(self, calls: int, num_timesteps: int, num_tokens: int) -> MaskGIT:
        return replace(self, num_inference_steps=min(calls, num_tokens))

    def plan(self, schedule: Schedule, num_tokens: int) -> Plan:
        if self.num_inference_steps > num_tokens:
            told = "{num_inference_steps} is {value}; a picture has {num_tokens} tokens, so at most as many steps"
            raise SettingError(told, value=self.num_inference_steps, num_tokens=num_tokens)
        progress = np.arange(1, self.num_inference_steps + 1) / self.num_inference_steps
        share = np.cos(progress * np.pi / 2) if self.mask_schedule == "cosine" else 1.0 - progress
        masked = [num_tokens]
        for left in np.floor(share * num_tokens + 1e-9).astype(int):  # 1e-9 undoes the rounding of the share
            masked.append(min(left, masked[-1] - 1))
        masked = np.asarray(masked, np.int32)
        t = nearest_timestep(schedule.cum_mask[:-1], masked[:-1] / num_tokens).astype(np.int32)
        extra = {"masked": masked[:-1], "heat": np.asarray(1.0 - progress, np.float32)}
        return Plan(timestep=t, jump=schedule.jumps(t, t - 1), reveal=-np.diff(masked), extra=extra)

    def step(self, call: Plan, log_x0: LogProbs, tokens: Tokens, noise: Noise, draw: jax.Array) -> Tokens:
        code = draw_codes(log_x0, noise, draw)
        log_prob = jnp.take_along_axis(log_x0, code[..., None], axis=-1)[..., 0]
        exponential = jnp.maximum(noise.exponential(draw, tokens.shape), jnp.finfo(jnp.float32).tiny)
        # -ln Exponential(1) is Gumbel noise.
        confidence = log_prob - self.temperature * call.extra["heat"] * jnp.log(exponential)
        masked = tokens == log_x0.shape[-1]
        share_of = jnp.sum(masked, axis=-1, keepdims=True) * call.reveal
        count = -(-share_of // call.extra["masked"])
        return jnp.where(first_masked(confidence, masked, count), code, tokens)
